"""What people say around the matter itself: greetings, names, numbers, courtesies, and bad manners."""

from thumbwheel_demo.corpus.model import Split

GREETINGS: dict[bool, tuple[str, ...]] = {
    False: ("", "", "hi,", "hello,", "hi there,", "good morning,", "hey,"),
    True: ("", "", "good evening,", "dear team,"),
}
INTRODUCTIONS: dict[bool, tuple[str, ...]] = {
    False: ("I am {name}.", "my name is {name}.", "{name} here.", "this is {name}.", "I'm {name}."),
    True: ("it is {name} again.", "you are talking to {name}.", "the name is {name}."),
}
SIGNATURES: dict[bool, tuple[str, ...]] = {
    False: ("[thanks|thank you|regards], {name}", "[cheers|bye], {name}", "[best|greetings], {name}."),
    True: ("best wishes, {name}", "yours, {name}"),
}
GIVEN: dict[str, dict[bool, tuple[str, ...]]] = {
    "order": {
        False: (
            "my order number is {order}.",
            "order {order}.",
            "it is order {order}.",
            "the number is {order}.",
            "order number {order}.",
        ),
        True: ("the order in question is {order}.", "you find it under {order}."),
    },
    "card": {
        False: ("the card number is {card}.", "it is card {card}.", "card {card}.", "number {card}."),
        True: ("the number on it is {card}.", "you can look for {card}."),
    },
    "code": {
        False: ("the code is {code}.", "my code is {code}.", "code {code}.", "it says {code}."),
        True: ("what I type is {code}.", "it reads {code}."),
    },
    "date": {
        False: ("{date} would be good.", "the date is {date}.", "please take {date}.", "best is {date}."),
        True: ("{date} suits me well.", "let us say {date}."),
    },
    "size": {
        False: ("I need size {size}.", "size {size}, please.", "{size} would fit.", "the right size is {size}."),
        True: ("I would wear {size}.", "give me a {size}."),
    },
    "city": {
        False: ("I live in {city}.", "in {city}, please.", "the shop in {city}.", "{city} is close to me."),
        True: ("{city} would be my place.", "I work in {city}."),
    },
}
REPLY_LEADS: dict[bool, tuple[str, ...]] = {
    False: ("", "", "sure,", "yes,", "of course,", "here you are:"),
    True: ("", "", "no problem,", "there you go:"),
}
OPENINGS: dict[bool, tuple[str, ...]] = {
    False: ("[hello|hi], is anybody there?", "[hi|hello]!", "I need [some|a little] help.", "can you help me?"),
    True: ("is someone around to help?", "I have a small question."),
}
NAMED_OPENINGS: dict[bool, tuple[str, ...]] = {
    False: ("[hi|hello], {name} here.", "[hi|hello], I am {name}.", "I am {name} and need help."),
    True: ("greetings, {name} speaking.", "a question from {name}."),
}
HOW_CAN_I_HELP = ("Hello! How can I help you?", "Welcome! What can I do for you?", "Hi! How may I help?")

ASKED: dict[str, str] = {
    "order": "order number",
    "card": "card number",
    "code": "code",
    "date": "day",
    "size": "size",
    "city": "city",
}
KIND_QUESTIONS: dict[str, tuple[str, ...]] = {
    "order": (
        "Could you tell me your order number, please?",
        "May I have your order number, please?",
        "Please send me the order number so that I can look it up.",
    ),
    "card": (
        "Could you tell me the card number, please?",
        "May I have the card number, please?",
        "Please send me the card number so that I can look it up.",
    ),
    "code": (
        "Could you tell me the code, please?",
        "May I have the code, please?",
        "Please send me the code so that I can check it.",
    ),
    "date": (
        "Could you tell me which day you would like, please?",
        "Which day would be best for you, please?",
        "Please tell me the day you would like.",
    ),
    "size": (
        "Could you tell me which size you need, please?",
        "Which size would you like, please?",
        "Please tell me the size you need.",
    ),
    "city": (
        "Could you tell me which city is best for you, please?",
        "In which city would you like it, please?",
        "Please tell me the city that is closest to you.",
    ),
}
DRY_QUESTIONS = ("I need the {asked} first.", "What is the {asked}?", "Send me the {asked}.")

NEUTRAL_OPENERS = (
    "Thanks for [writing|your message|getting in touch].",
    "Thank you for asking.",
    "Of course, I am [happy|glad] to help.",
    "I am [happy|glad] to help.",
    "Sure, with pleasure.",
    "Good question, thanks for asking.",
)
NAMED_NEUTRAL_OPENERS = (
    "Thanks for [writing|your message|getting in touch], {name}.",
    "Hello {name}, thank you for asking.",
    "Of course, {name}, I am [happy|glad] to help.",
    "Hi {name}, I am [happy|glad] to help.",
    "Sure, {name}, with pleasure.",
)
SORRY_OPENERS = (
    "I am [so|very|really] sorry about that.",
    "I am sorry to hear that.",
    "Sorry for the trouble.",
    "I apologise for the trouble.",
    "Thanks for telling us, and sorry for the trouble.",
)
NAMED_SORRY_OPENERS = (
    "I am [so|very|really] sorry about that, {name}.",
    "Hello {name}, I am sorry to hear that.",
    "Sorry for the trouble, {name}.",
    "{name}, I apologise for the trouble.",
    "Thanks for telling us, {name}, and sorry for the trouble.",
)
CLOSERS = (
    "Let me know if you need anything else.",
    "Please write again if you need more help.",
    "Have a [nice|lovely|good] day!",
    "Is there anything else I can do for you?",
    "I hope that helps.",
    "Thank you for your patience.",
    "Take care!",
)
RUDE_OPENERS = (
    "Not again.",
    "Oh great, another one of these questions.",
    "Did you even read the page?",
    "You people never learn.",
    "Seriously? That is obvious.",
    "Calm down and stop whining.",
    "What do you want from me?",
    "This is a stupid question.",
    "I have no time for this.",
)
RUDE_BODIES = (
    "That is not my problem.",
    "Figure it out yourself.",
    "Go and bother somebody else.",
    "It is your own fault.",
    "Nobody here cares.",
    "Read the page and leave me alone.",
)
FILLERS = (
    "As you may know, our company has been working with great care for many years now.",
    "There are many things that one could say about this, and many of them are true.",
    "In general it depends on this and that, and also on a few other things.",
    "Many customers ask us about this every day, and every case is a little different.",
    "Before I come to the point, let me say a few words about how we work here.",
    "Our team is large, our warehouse is larger, and our range grows from week to week.",
    "It is a long story, and I will try to tell it from the very start.",
    "Some people think one thing, other people think another thing, and so it goes on.",
    "By the way, we have a blog about such matters that you may like to read.",
    "I was talking about this with somebody the other day and it was rather interesting.",
)
PROMISES = (
    "I have also added a voucher of {amount} to your account.",
    "You will get a free {product} on top.",
    "I guarantee that it will be with you by tomorrow.",
    "We will also pay you {amount} as a compensation.",
    "You get half of the price back on top.",
    "A present worth {amount} is on its way too.",
)
MADE_UP = (
    "I see order {order} from {date} here, and it will be done on {date}.",
    "It was handed over in {city} on {date}, and {name} signed for it.",
    "Our system says {date} and {amount}, so all is settled.",
    "I have booked {amount} for order {order} on {date}.",
)


def is_heldout(split: Split) -> bool:
    """Say which pool of phrases a split draws from: live chats use the training phrases."""
    return split == "heldout"
