"""A stage of its own: every Monday at nine."""

from greenroom import get_stage

stage = get_stage()
stage["report"] = f"the report of run {stage.run}"
print(stage["report"])
