"""Published figures of the row-stationary simulator, and the hardware that they were made with."""

from shiftaddaug.hardware.settings import Accelerator, ArraySettings, MemorySettings, PublishedSettings
from shiftaddaug.hardware.shapes import LayerShape
from shiftaddaug.hardware.technology import Operations, read_technology

EYERISS_MEMORY = MemorySettings(dram=200, buffer=22.2, noc=7.4, noc_psum=3.7, rf=3.7, rf_weight=7.4)
SHIFTADDNAS = PublishedSettings(on_chip=("add",), narrow_input_bits=16)


def eyeriss(elements: int = 168, precision: str = "fp32") -> Accelerator:
    """ShiftAddNAS' simulator."""
    operations = read_technology("asic_45nm").precisions[precision]
    return Accelerator(ArraySettings(elements), EYERISS_MEMORY, SHIFTADDNAS, operations, clock_mhz=250)


PREDICTOR = Accelerator(
    ArraySettings(elements=168, filter_words=192),
    MemorySettings(dram=0.3, buffer=0.5, noc=2, noc_psum=2, rf=2, rf_weight=2, dram_to_buffer=0.5, word_bits=None),
    PublishedSettings(),
    Operations(32, (("mult", 1.0),)),
    clock_mhz=250,
)
"""A predictor that was released with row-stationary constants of its own; its weights pay no way to the buffer."""


def conv(inputs: int, outputs: int, kernel: int, size: int, stride: int = 1, linear: bool = False) -> LayerShape:
    """A square layer by its output's size."""
    side = size * stride
    return LayerShape(1, inputs, outputs, kernel, (side, side), (size, size), stride, linear=linear)


RECORDED = [
    (168, "mult", conv(3, 64, 7, 112, 2), 5.2231811072, 0.003211264),
    (168, "mult", conv(64, 64, 1, 56), 0.6784999424, 0.000401408),
    (168, "mult", conv(64, 256, 1, 56), 2.4731549696, 0.001605632),
    (168, "mult", conv(64, 64, 3, 56), 5.0017042432, 0.004816896),
    (168, "mult", conv(128, 128, 3, 28), 5.167325184, 0.004816896),
    (168, "mult", conv(128, 128, 3, 28, 2), 5.4303277056, 0.004816896),
    (168, "mult", conv(256, 256, 3, 14), 5.2890771456, 0.005505024),
    (168, "mult", conv(512, 512, 3, 7), 5.9586547712, 0.005505024),
    (168, "mult", conv(256, 16, 1, 1), 0.0019606752, 1.28e-7),
    (168, "mult", conv(2048, 1000, 1, 1, linear=True), 0.928905864, 5.12e-5),
    (168, "shift", conv(256, 1024, 1, 14), 0.73807782912, 0.00057344),
    (168, "shift", conv(256, 256, 3, 14), 1.53419645952, 0.00172032),
    (168, "add", conv(128, 128, 3, 28), 4.001234944, 0.004816896),
    (192, "mult", conv(64, 64, 3, 56), 4.9132306432, 0.002752512),
]
"""Elements, operator, layer, mJ, s: rows of hw_record in the code of ShiftAddNAS, 32 bits."""

PREDICTED = [
    (conv(16, 16, 3, 32), 0.0196631296, 0.098304),
    (conv(16, 16, 1, 32), 0.0017384192, 0.016384),
    (conv(64, 10, 1, 1, linear=True), 6.1762e-6, 4e-5),
]
"""Layer, mJ, ms of the released predictor."""
