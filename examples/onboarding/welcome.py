"""Both have looked: once, with what each has said."""

from greenroom import get_stage, once, set_title
from greenroom.integrations import email

stage = get_stage()
reviews = stage["joined"]
stage["approved"] = all(review["approved"] for review in reviews)
set_title(f"{stage['name']} joins {stage['team']}")


def send() -> None:
    text = "Welcome!" if stage["approved"] else "We have questions about your contract."
    email.send_message(email.user(stage["email"]), f"{text}\n\nSee you on {stage['first_day']}.")


once("welcome mail", send)
print(f"{stage['name']} was told: approved={stage['approved']}")
