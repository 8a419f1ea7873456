"""What administrators sign to put one address on a list of the policy, or to take it off."""

from dataclasses import dataclass

from policy.encoding import Json, document_hash
from policy.errors import MalformedError
from policy.fields import Fields
from policy.ids import ID_BYTES

ADD, REMOVE = ACTIONS = ("add", "remove")
LABEL_MAX = 100


@dataclass(frozen=True, slots=True)
class Listing:
    """One change of one list, for the policy whose hash is ``policy`` and no other.

    ``label`` says whose address it is; who is taken off needs none. ``nonce`` tells it from the same change
    made before.
    """

    origin: str
    policy: bytes
    list: str
    action: str
    address: str
    label: str
    nonce: bytes

    @property
    def adds(self) -> bool:
        """Whether the address is put on the list."""
        return self.action == ADD


def parse_listing(body: Json) -> Listing:
    """Read what is signed. Raises ``MalformedError`` naming the field."""
    fields = Fields(body, "body")
    action = fields.choice("action", *ACTIONS)
    one = Fields({"address": [fields.raw("address")]}, "body")
    listing = Listing(
        origin=fields.origin("origin"),
        policy=fields.hex("policy", length=ID_BYTES),
        list=fields.name("list"),
        action=action,
        address=one.addresses("address", count_max=1)[0],
        label=fields.text("label", length_max=LABEL_MAX) if action == ADD else "",
        nonce=fields.hex("nonce", length=ID_BYTES),
    )
    fields.done()
    if listing.label != listing.label.strip():
        raise MalformedError("body: field 'label' must not begin or end with a space")
    return listing


def listing_id(body: Json) -> bytes:
    """What people compare before they sign it, and what a veto names."""
    return document_hash("address-change", body)
