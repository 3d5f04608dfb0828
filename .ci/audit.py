"""Ask pip-audit about the pinned dependencies, and say how many it could look up.

pip-audit passes over what its database does not know, and ends well even when that is everything,
as on a machine that can't reach the database. Exit code 1 only for a known weakness.
"""

import json
import subprocess
import sys


def main(program: str, requirements: str) -> int:
    command = [program, "--require-hashes", "--disable-pip", "--format", "json", "-r", requirements]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- our own arguments
    try:
        found = json.loads(result.stdout)["dependencies"]
    except (ValueError, KeyError):
        sys.stdout.write(f"not audited: pip-audit could not run here\n{result.stderr[-500:]}\n")
        return 0
    audited = [item for item in found if "skip_reason" not in item]
    weak = [item for item in audited if item.get("vulns")]
    for item in weak:
        names = ", ".join(weakness["id"] for weakness in item["vulns"])
        sys.stdout.write(f"{item['name']} {item['version']}: {names}\n")
    if not audited:
        sys.stdout.write("NOT AUDITED: the database of weaknesses can't be reached from here\n")
    else:
        sys.stdout.write(f"{len(audited)} of {len(found)} audited, {len(weak)} known to be weak\n")
    return 1 if weak else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
