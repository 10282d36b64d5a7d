"""HR invites somebody: POST /hooks/invited with {"name": "..."}."""

from greenroom import get_request, get_stage, next_stage, send_json

invited = get_request().body
if not isinstance(invited, dict) or not invited.get("name"):
    send_json({"error": "a name is needed"}, 422)
    next_stage([])

get_stage()["name"] = invited["name"]
send_json({"invited": invited["name"]}, 201)
