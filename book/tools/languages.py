"""What is said in each language, other than on the pages: `languages.yml`."""

from typing import Any

import yaml

from book import BOOK

PATH = BOOK / "languages.yml"
LANGUAGES: dict[str, dict[str, Any]] = yaml.safe_load(PATH.read_text(encoding="utf-8"))
FIRST, *OTHERS = LANGUAGES
