"""Submissions that ship with the service, as YAML to copy and edit; the first line says what each is."""

from importlib.resources import files

from service.domain.errors import NotFound
from service.domain.views import PresetView


def list_presets() -> list[PresetView]:
    """All presets by name."""
    paths = [path for path in files(__name__).iterdir() if path.name.endswith(".yaml")]
    presets = [_view(path.name.removesuffix(".yaml"), path.read_text("utf-8")) for path in paths]
    return sorted(presets, key=lambda preset: preset.name)


def get_preset(name: str) -> PresetView:
    """One preset. Raises NotFound, which names those there are."""
    presets = {preset.name: preset for preset in list_presets()}
    if name not in presets:
        raise NotFound(f"there is no preset {name[:100]!r}; there are {', '.join(presets)}")
    return presets[name]


def _view(name: str, text: str) -> PresetView:
    return PresetView(name, text.partition("\n")[0].lstrip("# "), text)
