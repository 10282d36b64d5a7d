"""Who joins us: asked one page after the other, as in a terminal."""

from greenroom import display, get_stage, next_stage, page, read_email, read_text

stage = get_stage()
name = read_text("Full name", initial=stage["name"])
display(f"Hello {name}. Two things more.")
stage["name"] = name
stage["email"] = read_email("Your e-mail")
work = page("Your work").read_dropdown("Team", ["finance", "product"]).read_date("First day")
stage.update(work.run())

next_stage([
    {"stage": "contract-analysis", "assignee": "mark@company.com", "data": {"part": "salary"}},
    {"stage": "contract-analysis", "assignee": "kiara@company.com", "data": {"part": "terms"}},
])  # fmt: skip
