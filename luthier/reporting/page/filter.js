const find = document.getElementById("find");
if (find) {
  const rows = [...document.querySelectorAll("#wrong tr")];
  const text = rows.map((row) => row.textContent.toLowerCase());
  const matches = document.getElementById("matches");
  const show = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      row.hidden = !words.every((word) => text[i].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    matches.textContent = words.length ? `${shown} of ${rows.length}` : "";
  };
  find.closest(".filter").hidden = false;
  find.addEventListener("input", show);
  show();
}
