"""Writes docs/results/situations.json."""

import json

from situations import FILE, table

FILE.write_text(json.dumps(table(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
