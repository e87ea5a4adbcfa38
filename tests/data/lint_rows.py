"""Clean rows for the lint fixture: questions with answers, and labelled sentences."""

from __future__ import annotations

PAIRS = [
    (
        "Why do storks fly to the south in autumn?",
        "In autumn storks find too few frogs and insects here, so they fly to the south, "
        "where food is left.",
    ),
    (
        "How does a lock lift a boat on a canal?",
        "The lock closes its lower gates, lets water in from the canal above, and the boat "
        "rises with it.",
    ),
    (
        "What makes bread dough rise in a warm kitchen?",
        "Yeast eats the sugars of the dough and breathes out gas, and warm dough stretches "
        "and rises with the bubbles.",
    ),
    (
        "Why is the sea salty while most rivers are not?",
        "Rivers carry a little salt all the time; in the sea the water evaporates and the "
        "salt is left behind.",
    ),
    (
        "Which bone of the human body is the longest?",
        "The thigh bone, also called the femur, is the longest bone of the human body.",
    ),
    (
        "How do bees tell each other where flowers are?",
        "A bee dances on the comb; the angle and the length of the dance tell others where "
        "the flowers are.",
    ),
    (
        "What is the difference between weather and climate?",
        "Weather is what happens this week, climate is what weather is like over many years.",
    ),
    (
        "Why does a ship made of steel float?",
        "The hull of a ship pushes away more water than the steel weighs, so the ship floats.",
    ),
    (
        "How did sailors find their latitude before satellites?",
        "Sailors measured how high the pole star or the noon sun stood; that height gives "
        "the latitude.",
    ),
    (
        "What does a conductor do in front of an orchestra?",
        "A conductor keeps the orchestra together, sets the tempo, and shapes how loud each "
        "group plays.",
    ),
    (
        "Why do leaves turn yellow before they fall?",
        "The green dye of the leaves breaks down first, and the yellow one that was there "
        "all along shows.",
    ),
    (
        "How is paper made from wood?",
        "Wood is cooked to a pulp of fibres, spread thinly on a sieve, pressed and dried to paper.",
    ),
    (
        "What is a solar eclipse?",
        "During a solar eclipse the moon passes between the earth and the sun and covers the "
        "sun for some minutes.",
    ),
    (
        "Why do cats purr?",
        "Cats purr when they are content, and also when hurt, perhaps to calm themselves.",
    ),
    (
        "How does a thermos flask keep tea hot?",
        "Between its two walls a thermos flask has next to no air, so heat can hardly leave "
        "the tea.",
    ),
    (
        "Which planet has the most moons?",
        "Saturn is the planet with the most known moons, well ahead of Jupiter.",
    ),
    (
        "What is yeast used for besides bread?",
        "Besides bread, yeast is used to brew beer, to make wine, and in laboratories.",
    ),
    (
        "Why do we see lightning before we hear thunder?",
        "Light travels far faster than sound, so the lightning reaches us before the thunder does.",
    ),
    (
        "How do glaciers shape a valley?",
        "Glaciers drag rocks along their bed and grind a narrow valley into a wide one with "
        "a flat floor.",
    ),
    (
        "What was a scribe's work in a monastery?",
        "A scribe copied books by hand in a monastery, letter by letter, on parchment.",
    ),
    (
        "Why does iron rust outdoors?",
        "Outdoors iron meets water and oxygen, and the three together become rust.",
    ),
    (
        "How do plants drink?",
        "Plants take water in through their roots, and evaporation from the leaves pulls it "
        "upwards.",
    ),
    (
        "What is the purpose of a keel on a sailing boat?",
        "The keel keeps a sailing boat upright and stops the wind from pushing it sideways.",
    ),
    (
        "Why do onions make cooks cry?",
        "Cut onions set free a gas that turns to a weak acid in the eyes, and tears wash it out.",
    ),
    (
        "How does a barometer announce a storm?",
        "Before a storm the air pressure drops, and the needle of the barometer drops with it.",
    ),
    (
        "Which metal is liquid at room temperature?",
        "Mercury is the metal that is liquid at room temperature.",
    ),
    (
        "What does a referee carry in a football match?",
        "In a football match the referee carries a whistle, two cards, a watch and a notebook.",
    ),
    (
        "Why are manhole covers mostly round?",
        "A round cover cannot fall through its own hole, whichever way somebody turns it.",
    ),
    (
        "How do owls fly without a sound?",
        "The feathers of owls have a fringe that breaks the air into small whirls, which "
        "make no sound.",
    ),
    (
        "What happens to a tadpole as it grows?",
        "A tadpole grows legs, loses its tail and its gills, and leaves the water as a frog.",
    ),
    (
        "Why did people build castles on hills?",
        "From hills a castle could watch the roads, and attackers had to climb towards it.",
    ),
    ("How is glass coloured blue?", "A small amount of cobalt in the melt makes glass blue."),
    (
        "What is the job of white blood cells?",
        "White blood cells find germs in the body and destroy them.",
    ),
    (
        "Why do clocks in some countries change twice a year?",
        "Some countries move their clocks to have more daylight in the summer evenings.",
    ),
    (
        "How does a compass point north?",
        "The needle of a compass is a magnet and turns along the magnetic field of the earth "
        "towards the north.",
    ),
    ("Which fruit grows on an oak?", "The fruit of an oak is the acorn."),
    (
        "What is a haiku?",
        "A haiku is a short Japanese poem of three lines, mostly about nature and a moment in it.",
    ),
    (
        "Why does ice float on a lake?",
        "Water expands as it freezes, so ice is lighter than the lake below it and floats.",
    ),
    (
        "How do farmers use crop rotation?",
        "With crop rotation farmers grow other plants on a field each year, which rests the soil.",
    ),
    (
        "What did the steam engine change in weaving?",
        "With the steam engine, weaving moved from cottages by the stream into factories in towns.",
    ),
    (
        "Why do mountain climbers carry oxygen?",
        "High up the air is thin, and climbers carry oxygen because their lungs get too little.",
    ),
    (
        "How is cheese kept from spoiling?",
        "Salt, little water and a rind keep cheese from spoiling for months.",
    ),
    ("What is an archipelago?", "An archipelago is a group of islands that lie close together."),
    (
        "Why do camels have humps?",
        "Camels store fat in their humps and live on it when there is nothing to eat.",
    ),
    (
        "How do divers avoid the bends?",
        "Divers come up slowly and with pauses, so that the gas in their blood leaves it gently.",
    ),
    (
        "Which instrument has eighty-eight keys?",
        "A modern piano is the instrument with eighty-eight keys.",
    ),
    (
        "What makes a rainbow appear?",
        "Sunlight is bent and mirrored in drops of rain, each colour a little differently, "
        "and a rainbow appears.",
    ),
    (
        "Why do trains have flanges on their wheels?",
        "The flanges on the wheels keep trains on the track in curves and over switches.",
    ),
]
"""Questions with answers; every answer shares words with its question."""

PROMISES = [
    "We will open two libraries on the island before the spring.",
    "Our government will plant forty thousand trees along the coast road.",
    "I will cut the fare of the ferry by half for pupils.",
    "By next winter every village gets a doctor who stays.",
    "This council will repair the roof of the swimming hall in June.",
    "We are going to build nine wells in the dry valleys.",
    "From May on, we will pay nurses for the time they travel.",
    "We will close the coal plant at the river mouth within six years.",
    "Every school will receive a music teacher of its own.",
    "I shall publish the price of each contract the day it is signed.",
    "We will double the number of night buses in the port district.",
    "Our party will lower the tax on bicycles to four per cent.",
    "The ministry will hire three hundred inspectors for bridges.",
    "We will give farmers a grant for hedges they leave standing.",
    "My administration will move the archive into a building that does not leak.",
    "We will lay a cable to the northern islands next year.",
    "Parents will get twelve days of leave when a child is ill.",
    "We will buy back the waterworks from its owners abroad.",
    "Within a hundred days we will publish a plan for the old harbour.",
    "I will sign the treaty on fishing rights this autumn.",
    "We will put a lift into each of the five stations of the line.",
    "The city will turn the barracks into flats for seven hundred people.",
    "We will end the rule that shuts the market on Mondays.",
    "Our government will found a school for pilots of ships.",
]
STATEMENTS = [
    "The harbour was busier than in any year since the war.",
    "Nobody can say what oil will cost when the winter comes.",
    "Some people believe that the bridge was built too early.",
    "It would be good if the young stayed in the villages.",
    "Last year the council spent more on snow than on schools.",
    "The opposition has no idea how a hospital is run.",
    "I remember the summer in which the river ran dry.",
    "Experts expect that prices of grain rise again abroad.",
    "A country that forgets its songs forgets itself.",
    "Our neighbours are likely to close their border for a while.",
    "The storm took away nine roofs and one bell tower.",
    "There are days on which even this house is silent.",
    "Fishing has always been hard work for little money.",
    "They say that the old railway was faster than the new one.",
    "Machines may one day write speeches such as mine.",
    "The budget that was passed in March has a hole in it.",
    "We must never lose sight of what makes us strong.",
    "In my youth a letter took eleven days to the capital.",
    "Half of the wells in the south are said to be salty.",
    "The committee met on Tuesday and talked until midnight.",
    "Everyone in this room wants a better future for children.",
    "Unemployment fell in two provinces and rose in the third.",
    "The minister was seen at the races, and he enjoyed them.",
    "What the markets do tomorrow is anybody's guess.",
]
LABELLED = [
    (sentence, label)
    for group in zip(PROMISES[::2], STATEMENTS[::2], STATEMENTS[1::2], PROMISES[1::2], strict=True)
    for sentence, label in zip(group, ("True", "False", "False", "True"), strict=True)
]
"""Sentences in an order from which the next label cannot be told."""
