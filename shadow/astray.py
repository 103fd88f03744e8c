"""What a folder that is no pipeline is instead, and the command that helps: endings of messages for `shadow.hub`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from shadow.errors import UserError

_LFS = b"version https://git-lfs.github.com/spec/"
_DEPTH = 3  # folders in which a pipeline is looked for: models--OWNER--NAME/snapshots/REVISION
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")
_ANCHOR = "conv_in.weight"  # a tensor that every UNet2DModel has
_WRAPPERS = {  # the first part of a name, and who writes it
    "_orig_mod": "torch.compile",
    "module": "DataParallel",
    "ema_model": "a wrapper that averages weights (EMA)",
    "ema": "a wrapper that averages weights (EMA)",
    "online_model": "a wrapper that averages weights (EMA)",
    "averaged_model": "a wrapper that averages weights (EMA)",
}
_BEST = ("ema", "averaged")  # of two sets of weights the averaged ones are those that draw


def hint(place: Path) -> str:
    """Where the pipeline may be that somebody took `place` for, as the end of a message; '' where nobody knows."""
    if place.is_file():
        around = next(
            (folder for folder in place.absolute().parents[:2] if (folder / "model_index.json").is_file()), None
        )
        if around:
            return f"; it is a file of a pipeline: give the folder, {around}"
        if place.suffix in _PICKLES:
            return "; it is a pickle, which is never opened: write a pipeline from it with save_pretrained of diffusers"
        return "; it is a file, and weights alone say nothing of their network: give a folder with model_index.json"
    found = sorted(_pipelines(place, _DEPTH))
    if found:
        newest = _current(place, found)
        more = f" ({len(found)} pipelines are there)" if len(found) > 1 else ""
        return f"; the pipeline lies further in: give {newest}{more}"
    for name in ("unet_ema", "unet"):
        if (place / name / "config.json").is_file():
            return (
                f"; it is a checkpoint of a training, without a scheduler: write a pipeline with diffusers, "
                f"DDPMPipeline(UNet2DModel.from_pretrained('{place / name}'), DDPMScheduler(...)).save_pretrained(NEW)"
            )
    return ""


def _pipelines(folder: Path, depth: int) -> list[Path]:
    """Folders with a model_index.json, at most `depth` folders in; those that cannot be read are passed over."""
    if (folder / "model_index.json").is_file():
        return [folder]
    if not depth or not folder.is_dir():
        return []
    try:
        inner = sorted(path for path in folder.iterdir() if path.is_dir())
    except PermissionError:
        return []
    return [found for path in inner for found in _pipelines(path, depth - 1)]


def _current(place: Path, found: list[Path]) -> Path:
    """Of several revisions in a cache of the Hub the one that `main` names; else the last."""
    main = place / "refs" / "main"
    revision = main.read_text().strip() if main.is_file() else ""
    return next((path for path in found if path.name == revision), found[-1])


def check_content(path: Path, start: bytes) -> None:
    """Refuses a file that stands for another, by its first bytes. Raises UserError."""
    if start.startswith(_LFS):
        raise UserError(f"{path}: a pointer of Git LFS stands in for the file: run `git lfs pull` in {path.parent}")


def check_names(path: Path, names: Collection[str]) -> None:
    """Refuses weights that were saved with what was wrapped around the network. Raises UserError."""
    prefixes = sorted({name.removesuffix(_ANCHOR) for name in names if name.endswith(f".{_ANCHOR}")})
    if not prefixes or _ANCHOR in names:
        return
    prefix = next((prefix for prefix in prefixes if prefix.startswith(_BEST)), prefixes[0])
    writer = next((who for part, who in _WRAPPERS.items() if part in prefix.split(".")), "what was around the network")
    raise UserError(
        f"{path}: its tensors are named {prefix}..., by {writer}: save the network within, or rename them: "
        'python -c "from safetensors.flax import load_file, save_file; '
        f"path = {str(path)!r}; found = load_file(path); save_file({{name[{len(prefix)}:]: found[name] for name "
        f"in found if name.startswith({prefix!r})}}, path, {{'format': 'pt'}})\""
    )
