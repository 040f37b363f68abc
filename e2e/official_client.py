"""HubSpot's own client for Python, configured with the base URL of the proxy and a key; see official-clients.test.mjs."""

import json
import os

from hubspot import HubSpot
from hubspot.crm.contacts import ApiException, SimplePublicObjectInputForCreate

client = HubSpot(access_token=os.environ["API_KEY"], host=os.environ["PROXY"])
contacts = client.crm.contacts.basic_api
contact = SimplePublicObjectInputForCreate(properties={"email": "python@acme.example"}, associations=[])
made = contacts.create(contact)
listed = any(one.id == made.id for one in contacts.get_page(limit=10).results)
try:
    contacts.create(contact)
    again = None
except ApiException as why:
    again = why.status
print(json.dumps({"made": made.properties["email"], "listed": listed, "again": again}))
