"""The pipeline: from a file to C, to a proof, to a profile.  The only room that knows
every stage.

    load      file -> Model             frontends, verified, canonical       pipeline
    inspect   Model -> Inspection       layers, shapes, MACs                 inspection
    compile   Model -> Compiled         plan, C, linked image, summary       pipeline
    check     Model -> Check            every way of running it, compared    proof
    profile   Model -> Profile          instructions, estimated cycles       profiling
    write     Compiled -> folder        C, CMake, manifest; all or nothing   folder
    run       folder -> outputs         the C of a folder, emulated          folder
"""

from lilliput.compiler.folder import (
    Folder,
    FolderRun,
    manifest,
    output_files,
    read,
    require_free,
    run,
    write,
)
from lilliput.compiler.inspection import Inspection, inspect, inspection_text
from lilliput.compiler.pipeline import (
    PASSES,
    Compiled,
    Log,
    Model,
    Options,
    compile,
    emit_options,
    from_module,
    load,
    refuse_foreign_instructions,
)
from lilliput.compiler.profiling import Profile, ProfiledLayer, profile
from lilliput.compiler.proof import Check, check, random_calls

__all__ = [
    "PASSES",
    "Check",
    "Compiled",
    "Folder",
    "FolderRun",
    "Inspection",
    "Log",
    "Model",
    "Options",
    "Profile",
    "ProfiledLayer",
    "check",
    "compile",
    "emit_options",
    "from_module",
    "inspect",
    "inspection_text",
    "load",
    "manifest",
    "output_files",
    "profile",
    "random_calls",
    "read",
    "refuse_foreign_instructions",
    "require_free",
    "run",
    "write",
]
