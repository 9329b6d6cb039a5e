"""The second demonstration: image classification with PyTorch through the same loop."""

import random
import shutil
from pathlib import Path

from sill.demo import digits
from sill.demo.host import Host
from sill.demo.story import Story
from sill.demo.teller import Teller

DIMMED = 0.18
"""What the growing dirt on the lens leaves of the light."""
HAZE = 0.45
"""The stray light it spreads over every pixel; white is 1."""
GRAIN = 0.05


class DigitsStory(Story):
    """Handwritten digits."""

    project = "digits"
    endpoint = "digit"
    view = "pixels"
    key = "name"
    title = "Sill: 1,797 handwritten digits, from a folder of images to a PyTorch model that watches itself"
    calm_requests = 420
    window_requests = 200
    trigger_labels = 300

    def __init__(self, host: Host, teller: Teller) -> None:
        super().__init__(host, teller)
        self._names: list[str] = []

    def tell(self) -> None:
        """The whole story."""
        self.start()
        self.write_images()
        self.apply(self.host.work / "project.py")
        self.ingest("images", "Reading a folder of images; the folder's name is the label")
        self.look_up(self._names)
        self.train(
            "fit",
            "Fitting a small convolutional net; exporting it to ONNX; checking that both agree; gate; register; sign",
        )
        self.serve_calmly()
        self.drift(f"The lens grows dirty: {DIMMED:.0%} of the light comes through, and a grey haze lies over it")
        self.retrain()
        self.roll_out()
        self.explain()
        self.count_cost()

    def shifted(self, features: dict[str, float]) -> dict[str, float]:
        """Dimmer, with haze and grain on every pixel; the same image is always spoilt in the same way."""
        noise = random.Random(round(sum(features.values()) * 1e6))
        return {name: value * DIMMED + HAZE + GRAIN * noise.random() for name, value in features.items()}

    def write_images(self) -> None:
        """Write the digits as PNG files, one folder for each."""
        with self.teller.step("images", "Writing 1,797 PNG images into ten folders") as say:
            from PIL import Image
            from sklearn.datasets import load_digits

            shutil.copy(Path(digits.__file__).parent / "project.py", self.host.work / "project.py")
            data = load_digits()
            folder = self.host.work / "images"
            for place, (pixels, label) in enumerate(zip(data.images, data.target, strict=True)):
                within = folder / str(label)
                within.mkdir(parents=True, exist_ok=True)
                name = f"digit_{place:04d}.png"
                Image.fromarray((pixels * 255 / 16).round().astype("uint8")).save(within / name)
                self._names.append(f"{label}/{name}")
                self.truth[f"{label}/{name}"] = str(label)
            say(f"{folder}: {len(self._names)} images of 8 by 8 pixels")
            self.facts["images"] = len(self._names)
