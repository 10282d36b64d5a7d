"""Two people look at a part of the contract each."""

from greenroom import display, get_stage, read_checkbox, read_textarea

stage = get_stage()
display(f"{stage['name']} joins {stage['team']} on {stage['first_day']}: the {stage['part']}")
stage["approved"] = read_checkbox("It is fine")
if not stage["approved"]:
    stage["remark"] = read_textarea("What is wrong with it?")
