"""The pipeline: from a file to C, to a proof, to a profile.  The only room that knows
every stage.

    load      file -> Model             frontends, verified, canonical       pipeline
    from_torch PyTorch module -> Model  through torch.export                 pipeline
    over_time Model -> Model            the step of a network over a window of frames  pipeline
    inspect   Model -> Inspection       layers, shapes, MACs                 inspection
    compile   Model -> Compiled         plan, C, linked image, summary       pipeline
    check     Model -> Check            every way of running it, compared    proof
    profile   Model -> Profile          instructions, estimated cycles       profiling
    counted   Compiled -> Compiled      the same, in its summary             profiling
    quantize  Model, data -> Quantized   integers of floats, and an account      quantizing
    learner   Model, scheme -> Learner   compiled with a training step        training
    searched  Model, budget -> Searched   the scheme that is worth most, compiled  searching
    taught    Learner, data -> Taught    what it would learn, simulated     training
    emulated  Compiled -> Board         the firmware on a core that stays powered     training
    shrink_file  file -> SmallerFile    what is left of it, as a .tflite file        shrinking
    write     Compiled -> folder        C, report, manifest; whole or not    folder
    run       folder -> outputs         the C of a folder, emulated          folder
    project_files  Model -> files       a whole firmware, Arduino, Zephyr    firmware
"""

from lilliput.compiler.firmware import FirmwareFolder, project_files, read_firmware
from lilliput.compiler.folder import (
    REPORT,
    Folder,
    FolderRun,
    manifest,
    output_files,
    read,
    read_summary,
    require_free,
    run,
    write,
)
from lilliput.compiler.hotspots import HotBlock, HotInstruction
from lilliput.compiler.inspection import Inspection, inspect, inspection_text
from lilliput.compiler.pipeline import (
    PASSES,
    Compiled,
    Feed,
    Log,
    Model,
    Options,
    OverTime,
    compile,
    emit_options,
    from_module,
    from_torch,
    load,
    over_time,
    refuse_foreign_instructions,
)
from lilliput.compiler.profiling import Profile, ProfiledLayer, counted, profile
from lilliput.compiler.proof import Check, check, random_calls
from lilliput.compiler.quantizing import Quantization, Quantized, file_of, quantize
from lilliput.compiler.searching import Search, Searched, Study, searched
from lilliput.compiler.shrinking import SmallerFile, require_free_file, shrink_file, write_file
from lilliput.compiler.training import (
    Learner,
    Lessons,
    Optimiser,
    Taught,
    UpdateScheme,
    described,
    emulated,
    learner,
    taught,
    train_layers,
)

__all__ = [
    "PASSES",
    "REPORT",
    "Check",
    "Compiled",
    "Feed",
    "FirmwareFolder",
    "Folder",
    "FolderRun",
    "HotBlock",
    "HotInstruction",
    "Inspection",
    "Learner",
    "Lessons",
    "Log",
    "Model",
    "Optimiser",
    "Options",
    "OverTime",
    "Profile",
    "ProfiledLayer",
    "Quantization",
    "Quantized",
    "Search",
    "Searched",
    "SmallerFile",
    "Study",
    "Taught",
    "UpdateScheme",
    "check",
    "compile",
    "counted",
    "described",
    "emit_options",
    "emulated",
    "file_of",
    "from_module",
    "from_torch",
    "inspect",
    "inspection_text",
    "learner",
    "load",
    "manifest",
    "output_files",
    "over_time",
    "profile",
    "project_files",
    "quantize",
    "random_calls",
    "read",
    "read_firmware",
    "read_summary",
    "refuse_foreign_instructions",
    "require_free",
    "require_free_file",
    "run",
    "searched",
    "shrink_file",
    "taught",
    "train_layers",
    "write",
    "write_file",
]
