"""A stranger's plugin that does harm."""

from __future__ import annotations

from typing import ClassVar

from tests.chaos.faults.fault import DELIVER, PLUGIN, WAY, Fault
from tests.chaos.scene import PLUGIN as NAME


class PluginRaises(Fault):
    name = "plugin raises"
    breaks = frozenset({PLUGIN})
    needs = WAY | {DELIVER}
    lasts = 3.0
    mode: ClassVar[str] = "raise"

    def strike(self) -> None:
        self._failed = len(self.scene.events("plugin.failed", plugin=NAME))
        (self.scene.plugin / "mode").write_text(self.mode)

    def has_hit(self) -> bool:
        return len(self.scene.events("plugin.failed", plugin=NAME)) > self._failed

    def heal(self) -> None:
        (self.scene.plugin / "mode").unlink(missing_ok=True)
        self._delivered = self.scene.delivered()

    def is_over(self) -> bool:
        return len(self.scene.delivered()) > len(self._delivered)


class PluginHangs(PluginRaises):
    name = "plugin hangs"
    mode = "hang"


class PluginLeaks(PluginRaises):
    name = "plugin leaks"
    mode = "leak"
