"""An example of every command of a node's program, for its ``--help``."""

from argparse import ArgumentParser, _SubParsersAction
from typing import Final

EXAMPLES: Final = {
    "provision": "--dir node-a --name node-a --origin log.example.com/treasury --pin-fd 3 3<pin",
    "join": "--dir node-a --genesis genesis.json --fingerprint 9f2c... --coordinator identity.pem "
    "--listen 10.0.0.1:7700 --peer node-b=10.0.0.2:7700=node-b/card.json",
    "run": "--config node-a/config.toml --pin-fd 3 3<pin",
    "cold": "--config node-c/config.toml --out letters --pin-fd 3 3<pin",
    "accept": "roster --dir node-a --change roster.json --fingerprint 9f2c... --pin-fd 3 3<pin",
    "doctor": "--config node-a/config.toml --pin-fd 3 3<pin",
    "check": "--config node-a/config.toml",
    "split": "--offers offers.json --trust trust.json --committee 2:node-a,node-b,node-c "
    "--secret-fd 3 3<secret.hex",
    "officer create": "--dir officers/olga --name olga",
    "backup": "--dir node-a --key main --officer olga.json=9f2c... quinn.json=51e0... --quorum 2 "
    "--out node-a.backup --pin-fd 3 3<pin",
    "recover": "node-a.backup node-c.backup --officer-key officers/olga/key.pem officers/quinn/key.pem "
    "--path m/0/0 --out recovered.json",
    "bench": "--batch 8 --repeat 3",
}


def show_examples(parser: ArgumentParser, *words: str) -> None:
    """Add them; a group of commands shows those of its own."""
    groups = [one for one in parser._actions if isinstance(one, _SubParsersAction)]
    for group in groups:
        for name, command in group.choices.items():
            show_examples(command, *words, name)
        parser.epilog = parser.epilog or next(iter(group.choices.values())).epilog
    if not groups:
        name = " ".join(words)
        parser.epilog = f"example: quorumkeep-node {name} {EXAMPLES[name]}"
