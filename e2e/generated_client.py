"""A client that openapi-python-client makes from openapi.json; see official-clients.test.mjs."""

import json
import os
import subprocess
import sys
from pathlib import Path

folder, description = Path(sys.argv[1]), sys.argv[2]
made = folder / "generated"
generate = [sys.executable, "-m", "openapi_python_client", "generate", "--path", description]
subprocess.run([*generate, "--output-path", made, "--meta", "none"], check=True, capture_output=True)
sys.path.insert(0, str(folder))

from generated import AuthenticatedClient
from generated.api.proxy import proxy_get, proxy_post
from generated.models.proxy_get_query import ProxyGetQuery

client = AuthenticatedClient(base_url=os.environ["SERVICE_URL"], token=os.environ["API_KEY"])
connection, contacts = os.environ["CONNECTION"], "crm/v3/objects/contacts"
body = {"properties": {"email": "generated-python@acme.example"}}
created = proxy_post.sync_detailed(connection, contacts, client=client, body=body)
query = ProxyGetQuery.from_dict({"limit": "100", "properties": "email"})
listed = proxy_get.sync_detailed(connection, contacts, client=client, query=query)
emails = [one["properties"]["email"] for one in json.loads(listed.content)["results"]]
missing = proxy_get.sync_detailed(connection, f"{contacts}/404", client=client)
print(json.dumps({"statuses": [one.status_code for one in (created, listed, missing)], "emails": emails}))
