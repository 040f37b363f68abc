"""HubSpot's own client for Python, pointed at the proxy; see official-clients.test.mjs."""

import json
import os

from hubspot import HubSpot
from hubspot.crm.contacts import ApiException, SimplePublicObjectInputForCreate


def through_proxy(package, name, config):
    """Makes one of the client's APIs with the header that names the connection."""
    configuration = package.Configuration(host=os.environ["PROXY"])
    configuration.access_token = config["access_token"]
    api_client = package.ApiClient(configuration, "Hubspot-Connect-Connection", os.environ["CONNECTION"])
    return getattr(package, name)(api_client)


client = HubSpot(access_token=os.environ["API_KEY"], api_factory=through_proxy)
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
