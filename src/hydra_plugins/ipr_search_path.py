"""Where Hydra finds the YAML of other packages that add to ipr. It looks for such plugins in this namespace only."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from ipr.config.registry import conf_folders


class FoldersOfPackages(SearchPathPlugin):
    """Puts `conf` of every package that registers something behind that of ipr, whose files come first.

    Programs of others, whose configuration lies elsewhere, are left alone.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """See Hydra's `SearchPathPlugin`."""
        ours, *others = conf_folders()
        main = [part.path for part in search_path.get_path() if part.provider == "main"]
        for folder in others if main and main[0].removeprefix("file://") == str(ours) else ():
            search_path.append(f"ipr: {folder.parent.name}", f"file://{folder}")
