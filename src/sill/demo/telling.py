"""Tells a story on a platform of its own, and cleans up."""

from importlib.util import find_spec
from typing import Any

from sill.core.errors import PluginMissing
from sill.demo.cancer_story import CancerStory
from sill.demo.digits_story import DigitsStory
from sill.demo.host import Host
from sill.demo.teller import Teller

STORIES = {"cancer": CancerStory, "digits": DigitsStory}
NEEDS = {
    "cancer": (("sklearn", "train"), ("skl2onnx", "train"), ("optuna", "train")),
    "digits": (("sklearn", "train"), ("torch", "torch"), ("onnxscript", "torch")),
}


def tell(story: str, *, keep: bool, is_silent: bool) -> dict[str, Any]:
    """Tell a story; returns everything that was measured.

    Args:
        keep: leave the platform running.
        is_silent: print nothing.
    Raises:
        PluginMissing: a library the story needs is not installed.
    """
    for module, extra in NEEDS[story]:
        if find_spec(module) is None:
            raise PluginMissing(f"the story {story!r} needs {module!r}.", fix=f"pip install 'sill[{extra}]'")
    teller = Teller(is_silent)
    host = Host(story)
    has_ended_well = False
    try:
        STORIES[story](host, teller).tell()
        has_ended_well = True
    finally:
        if not (keep and has_ended_well):
            host.stop(remove=has_ended_well)
            if not has_ended_well:
                teller.say(f"the demo's home was kept, to look at what went wrong: {host.home}")
    if keep:
        teller.say(
            f"The platform goes on at {host.url} (process {host.process_id}, home {host.home}).\n"
            f"  look:  SILL_HOME={host.home} SILL_PORT={host.port} sill open\n"
            f"  stop:  kill {host.process_id}"
        )
    return teller.result() | ({"url": host.url, "home": str(host.home), "process_id": host.process_id} if keep else {})
