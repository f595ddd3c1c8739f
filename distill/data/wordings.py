"""How each family of problems is worded. The last `NEW_PHRASINGS` wordings of a family are never used for training.

{n} and {m} are people, {she}, {She} and {her} belong to {n}, {items} and {others} are things, {a} to {d} are the
facts. This module holds text and nothing else.
"""

NEW_PHRASINGS = 2

LEFT_OVER = (
    "{n} has {a} boxes of {items}. Each box has {b} {items}. {She} gives {c} {items} to {her} friend. "
    "How many {items} does {n} have left?",
    "{n} has {a} bags with {b} {items} in each bag. {She} gives {c} {items} away. How many {items} are left?",
    "There are {b} {items} in each box. {n} has {a} boxes and gives {c} {items} to {m}. How many {items} are left?",
    "{n} buys {a} boxes of {b} {items} and loses {c} {items}. How many {items} does {n} have now?",
    "{n} has {a} boxes of {b} {items} each. {m} takes {c} of the {items}. How many {items} does {n} have left?",
    "Each bag has {b} {items}. {n} has {a} bags. {She} loses {c} {items}. How many {items} does {n} have left?",
    "{n} buys {a} bags of {items}. There are {b} {items} in each bag. {m} takes {c} {items}. How many are left?",
)

CHANGE = (
    "{n} buys {a} {items} for ${b} each and pays with ${c}. How much change does {she} get?",
    "One of the {items} costs ${b}. {n} buys {a} and pays with ${c}. How much change does {n} get?",
    "{n} has ${c} and buys {a} {items}. Each costs ${b}. How much money does {n} have left?",
    "{n} pays ${c} for {a} {items} at ${b} each. What is the change?",
    "At ${b} each, {n} buys {a} {items} and gives the shop ${c}. How much change is due?",
    "{n} buys {a} {items} at ${b} each and gives the shop ${c}. How much change does {n} get?",
    "{n} has ${c}. The {items} cost ${b} each. {She} buys {a}. How much money is left?",
)

RATE = (
    "A machine makes {b} {items} in {a} hours. How many {items} does it make in {c} hours?",
    "{n} packs {b} {items} in {a} hours. How many {items} does {n} pack in {c} hours?",
    "In {a} days a shop sells {b} {items}. How many {items} does it sell in {c} days at the same rate?",
    "It takes {n} {a} hours to make {b} {items}. How many can {she} make in {c} hours?",
    "{n} makes {b} {items} in {a} days. At the same rate, how many does {she} make in {c} days?",
    "In {a} hours {n} makes {b} {items}. How many {items} does {n} make in {c} hours?",
    "A shop sells {b} {items} in {a} days. At the same rate, how many {items} does it sell in {c} days?",
)

AVERAGE = (
    "{n} has {a} {items} on Monday, {b} on Tuesday and {c} on Friday. What is the average for a day?",
    "Three bags hold {a}, {b} and {c} {items}. What is the average number of {items} in a bag?",
    "{n} scores {a}, {b} and {c} points in three games. What is the average score?",
    "The three boxes have {a}, {b} and {c} {items}. On average, how many {items} does a box have?",
    "{n} sells {a} {items}, then {b}, then {c}. What is the average of the three days?",
    "{n} sells {a} {items} on Monday, {b} on Tuesday and {c} on Friday. "
    "On average, how many {items} is that for a day?",
    "Three boxes hold {a}, {b} and {c} {items}. What is the average of the three boxes?",
)

MORE_THAN = (
    "{n} has {a} {items}. {m} has {b} more {items} than {n}. How many {items} do they have together?",
    "{m} has {b} more {items} than {n}. {n} has {a} {items}. How many {items} do both have in all?",
    "{n} finds {a} {items} and {m} finds {b} more than that. How many {items} do they find in all?",
    "{n} has {a} {items}, which is {b} less than {m} has. How many {items} do they have together?",
    "There are {a} {items} in a box and {b} more than that in a bag. How many {items} are there in all?",
    "{n} finds {a} {items}. {m} finds {b} more {items} than {n}. How many {items} do both find in all?",
    "{n} has {a} {items} and {m} has {b} more than that. How many {items} do they have together?",
)

TIMES_AS_MANY = (
    "{n} has {a} {items}. {m} has {b} times as many. How many more {items} does {m} have than {n}?",
    "{m} has {b} times as many {items} as {n}, who has {a}. How many more {items} does {m} have?",
    "A box holds {a} {items}. A bag holds {b} times as many. How many more {items} does the bag hold?",
    "{n} finds {a} {items} and {m} finds {b} times as many. How many more does {m} find than {n}?",
    "{n} has {a} {items} and {m} has {b} times that. What is the difference?",
    "{n} finds {a} {items}. {m} finds {b} times as many {items}. How many more {items} does {m} find than {n}?",
    "{m} has {b} times as many {items} as {n}. {n} has {a} {items}. How many more does {m} have than {n}?",
)

SHARE = (
    "{n} has {a} {items} and {m} has {b}. They share all of them equally with {c} children. "
    "How many does each child get?",
    "{a} red {items} and {b} blue {items} are put in {c} equal bags. How many {items} are in each bag?",
    "{n} has {a} red and {b} blue {items} to share equally among {c} friends. How many does each friend get?",
    "{n} picks {a} {items}, then {b} more, and puts them in {c} equal boxes. How many {items} are in each box?",
    "{c} friends share {a} big {items} and {b} small {items} equally. How many {items} does each friend get?",
    "{n} has {a} {items} and {m} has {b}. They put all of them in {c} equal bags. How many {items} are in each bag?",
    "{n} picks {a} red {items} and {b} blue {items} and shares them equally among {c} friends. How many does each get?",
)

TWO_PRICES = (
    "{n} buys {a} {items} for ${b} each and {c} {others} for ${d} each. How much does {she} pay in all?",
    "{n} buys {a} {items} at ${b} and {c} {others} at ${d}. What is the total cost?",
    "A shop sells {a} {items} for ${b} each and {c} {others} for ${d} each. How much money does it get?",
    "{a} {items} cost ${b} each. {c} {others} cost ${d} each. How much do they cost in all?",
    "{n} wants {a} {items} at ${b} each and {m} wants {c} {others} at ${d} each. How much do they pay together?",
    "{n} buys {a} {items} at ${b} each and {c} {others} at ${d} each. What is the total cost?",
    "A shop sells {a} {items} at ${b} and {c} {others} at ${d}. How much money does it get in all?",
)

SAVING = (
    "{n} has ${a} and saves ${b} a week. How much money does {she} have after {c} weeks?",
    "{n} saves ${b} each week for {c} weeks. {She} had ${a} before. How much money does {n} have now?",
    "For {c} weeks {n} saves ${b} a week. {She} starts with ${a}. How much money does {she} have at the end?",
    "{n} starts with ${a} and gets ${b} each week. How much is that after {c} weeks?",
    "A jar holds ${a}. {n} puts in ${b} a week for {c} weeks. How much money is in the jar at the end?",
    "{n} starts with ${a} and saves ${b} each week. How much money does {n} have after {c} weeks?",
    "{n} has ${a}. {She} saves ${b} a week for {c} weeks. How much money does {she} have at the end?",
)

PARTS = (
    "A bag holds {c} {items}. {a} are red, {b} are blue and the others are green. How many {items} are green?",
    "{n} has {c} {items}. {She} gives {a} to {m} and {b} to a friend. How many {items} are left?",
    "Of {c} {items}, {a} are big and {b} are small. The others are old. How many {items} are old?",
    "There are {c} {items} in a shop. It sells {a} on Monday and {b} on Tuesday. How many {items} are left?",
    "{n} picks {c} {items}. {m} takes {a} and then {b} more. How many {items} does {n} have left?",
    "A box holds {c} {items}. {a} are red and {b} are green. The others are blue. How many {items} are blue?",
    "A shop has {c} {items}. It sells {a} and then {b} more. How many {items} are left?",
)

DIFFERENCE = (
    "{n} has {a} {items}. {m} has {b} {items}. How many more {items} does {n} have than {m}?",
    "{n} is {a} years old and {m} is {b} years old. How many years older is {n}?",
    "A book costs ${a} and a pen costs ${b}. How much more does the book cost than the pen?",
    "{n} runs {a} laps and {m} runs {b} laps. How many more laps does {n} run?",
    "There are {a} red {items} and {b} blue {items}. How many more red {items} are there?",
    "{n} finds {a} {items} and {m} finds {b} {items}. How many more {items} does {n} find?",
    "There are {a} big {items} and {b} small {items}. What is the difference?",
)

MISSING_PRICE = (
    "{n} buys {a} {items} and pays with ${c}. How much change does {she} get?",
    "{n} has ${c} and buys {a} {items}. How much money does {n} have left?",
    "{n} pays ${c} for {a} {items}. What is the change?",
    "{n} buys {a} {items} and gives the shop ${c}. How much change is due?",
    "{n} has ${c}. {She} buys {a} {items}. How much money is left?",
    "{n} gives the shop ${c} and buys {a} {items}. How much change does {she} get?",
)

MISSING_NUMBER = (
    "{n} has {a} boxes of {items}. {She} gives {c} {items} to {her} friend. How many {items} does {n} have left?",
    "{n} has {a} bags of {items}. {She} gives {c} {items} away. How many {items} are left?",
    "{n} buys {a} boxes of {items} and loses {c} {items}. How many {items} does {n} have now?",
    "{n} has {a} boxes of {items}. {m} takes {c} of the {items}. How many {items} does {n} have left?",
    "{n} buys {a} bags of {items}. {m} takes {c} {items}. How many are left?",
    "{n} has {a} bags of {items}. {She} loses {c} {items}. How many {items} does {n} have left?",
)

CONTRADICTION = (
    "{n} has {b} more {items} than {m}. {m} has {a} more {items} than {n}. How many {items} does {n} have?",
    "{n} has more {items} than {m}. {m} has {b} more {items} than {n}. How many {items} do they have together?",
    "{m} finds {b} more {items} than {n}. More {items} are found by {n} than by {m}. How many {items} does {m} find?",
    "{n} has {b} times as many {items} as {m}. {m} has {a} more {items} than {n}. How many {items} does {m} have?",
    "{n} has more {items} than {m}. {m} has {b} more {items} than {n}. How many {items} does {m} have?",
    "{n} has {a} more {items} than {m}. {m} has {b} more {items} than {n}. How many {items} do they have together?",
)
