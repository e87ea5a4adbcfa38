"""Words that the verb-noun rule of `diversity.py` knows."""

from __future__ import annotations

VERBS = frozenset(
    """
    abbreviate add adapt advise agree analyse analyze answer apply argue arrange ask assess assign
    assume balance brainstorm break build calculate capitalize categorise categorize change check
    choose cite clarify classify combine comment compare compile complete compose compute conclude
    condense construct contrast convert correct count craft create critique debate decide decode
    deduce define delete derive describe design detail detect determine develop devise diagnose
    differentiate discuss distinguish divide draft draw edit elaborate eliminate encode enumerate
    estimate evaluate examine expand explain explore express extract fill filter find finish fix
    form format formulate generate get give group guess highlight hypothesize identify illustrate
    imagine implement improve include indicate infer insert interpret introduce invent join judge
    justify label list locate look make match measure mention merge modify move name narrate negate
    observe offer optimize order organise organize outline output paint paraphrase parse perform
    pick plan plot point predict prepare present print prioritize produce pronounce proofread
    propose prove provide punctuate quote rank rate read rearrange recall recite recommend
    reconstruct recreate reduce refactor reformat reformulate remove rename reorder reorganize
    rephrase replace reply report respond restate retell retrieve return reverse review revise
    reword rewrite round say scan score search segment select separate shorten show simplify
    simulate sketch solve sort specify spell split state structure suggest sum summarise summarize
    swap synthesize tell test think trace track transcribe transform translate turn underline update
    use validate verify visualize weigh word work write
    """.split()
)
"""What instructions ask for."""

FILLERS = frozenset(
    """
    please kindly now then so ok okay hi hello hey just also simply first next finally can could
    would will you i we let us let's want need like should must try your my our task job goal is are
    to help me be able
    """.split()
)
"""What may stand before the verb of a request."""

DETERMINERS = frozenset(
    """
    a an the this that these those my your his her its our their some any each every all both
    another other few several many most more one two three four five six seven eight nine ten
    following given provided above below next previous me us them him it you yourself
    """.split()
)
"""What stands before a noun and is none; a verb comes after none of these."""

ENDS = frozenset(
    """
    about above according across after against along among and around as associated at based because
    before being beneath beside between but by called containing describing down during following
    for from having if in including inside into is are was were like named near of off on onto or
    out over per regarding since so such than that there through to toward towards under until up
    upon using via what when where whether which while who whom whose why how will with within
    without not can could should would may might must do does did has have had
    """.split()
)
"""What a run of nouns and adjectives ends before."""
