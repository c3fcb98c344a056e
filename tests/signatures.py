#!/usr/bin/env python3
"""signatures.py JSON: fails if a public item names a type of another crate that the crate of the JSON,
as rustdoc writes it, does not re-export."""

import json
import sys

crate = json.load(open(sys.argv[1]))
index, paths = crate["index"], crate["paths"]
root = index[str(crate["root"])]
STANDARD = {"std", "core", "alloc"}
# Re-exported as a module of their own: `tls::rustls`, and `rustls::pki_types` in it.
NESTED = {"rustls", "rustls_pki_types"}


def exported(module):
    """The paths that the module exports, of items and of whole modules and crates."""
    for item in (index[str(id)] for id in module["inner"]["module"]["items"]):
        use = item["inner"].get("use")
        if use:
            path = paths.get(str(use["id"]))
            yield "::".join(path["path"]) if path else use["source"]


def types(tree):
    """The types that a signature names, however deep they stand in it."""
    if isinstance(tree, dict):
        if "resolved_path" in tree:
            yield tree["resolved_path"]["id"]
        for key, value in tree.items():
            if key not in ("docs", "links", "attrs"):
                yield from types(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from types(value)


exports = set(exported(root))
looked_at = 0
missing = {}
for item in index.values():
    kind = next(iter(item["inner"]))
    is_public = item["crate_id"] == 0 and item["visibility"] in ("public", "default")
    if not is_public or kind not in ("function", "struct_field", "type_alias", "assoc_type", "constant"):
        continue
    for id in types(item["inner"]):
        path = paths.get(str(id))
        if not path or path["crate_id"] == 0 or path["path"][0] in STANDARD | NESTED:
            continue
        looked_at += 1
        name = "::".join(path["path"])
        if not any(name == export or name.startswith(f"{export}::") for export in exports):
            missing.setdefault(name, set()).add(item["name"] or "?")

assert looked_at > 20, f"only {looked_at} types were looked at: has rustdoc's format changed?"
print(f"{root['name']}: {looked_at} types of other crates in signatures, {len(missing)} not re-exported")
for name, items in sorted(missing.items()):
    print(f"  {name}, in {', '.join(sorted(items))}")
sys.exit(bool(missing))
