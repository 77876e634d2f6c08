"""Compiles the native core when the package is installed; without a C compiler, the package runs in plain torch."""

import importlib.util
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("src/shiftaddaug/kernels/native")


class NativeCoreHook(BuildHookInterface):  # type: ignore[misc]
    """Of wheels and editable installations."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        specification = importlib.util.spec_from_file_location("native_build", Path(self.root) / NATIVE / "build.py")
        assert specification is not None and specification.loader is not None
        native_build = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(native_build)
        library = native_build.library_path()
        try:
            native_build.build()
        except (FileNotFoundError, RuntimeError) as error:
            for old in (library, native_build.hash_path(library)):  # of an installation from other sources, perhaps
                old.unlink(missing_ok=True)
            self.app.display_warning(f"native kernels not built, add layers will train slowly: {error}")
            return
        build_data["artifacts"] += [str(NATIVE / path.name) for path in (library, native_build.hash_path(library))]
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{platform}"
