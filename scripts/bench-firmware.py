"""What `scripts/bench firmware` measures: see there."""

import json
import pathlib
import statistics
import struct
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FORMATS = ["f32", "int8"]
BOARD = "mps2-an386"
# Where the emulator puts plan and images; device/firmware/trial looks there.
PLAN, IMAGES = 0x0020_0000, 0x0030_0000
PIXELS = 28 * 28
# What instructions are turned into milliseconds with: the clock of a Pico 2, and one instruction a cycle.
MEGAHERTZ = 150


def checked(command, **options):
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        raise SystemExit(f"error: {command[0]} failed")
    return done.stdout


def built(package, number_format):
    """The ELF file of a board's firmware, or of trial."""
    out = checked([ROOT / "scripts/cross", "firmware-build", package, number_format])
    return pathlib.Path(out.strip().splitlines()[-1])


def trial(elf, plan, images, folder):
    """Instructions by what they are for, medians and means over the images."""
    path = folder / "images"
    path.write_bytes(struct.pack("<I", len(images) // PIXELS) + images)
    command = ["qemu-system-arm", "-M", BOARD, "-nographic", "-monitor", "none", "-serial", "none"]
    command += ["-semihosting-config", "enable=on,target=native", "-icount", "shift=0", "-kernel", elf]
    for file, address in [(plan, PLAN), (path, IMAGES)]:
        command += ["-device", f"loader,file={file},addr={address},force-raw=on"]
    stem, engine, measures, whole, adaptive, passes, same = ([] for _ in range(7))
    for line in checked(command, stdin=subprocess.DEVNULL).splitlines():
        words = line.split()
        if words[0] == "frame":
            stem.append(int(words[3]))
            engine.append([])
        elif words[0] == "pass":
            engine[-1].append(int(words[3]))
            measures.append(int(words[5]))
        elif words[0] == "judged":
            whole.append(int(words[1]))
            adaptive.append(int(words[3]))
            passes.append(int(words[4]))
            same.append(words[6] == "1")
    per_frame = [statistics.mean(of_frame) for of_frame in engine]
    return {
        "images": len(stem),
        "passes": len(engine[0]),
        "stem": round(statistics.mean(stem)),
        "engine_per_pass": round(statistics.mean(per_frame)),
        "engine_per_pass_median": round(statistics.median(per_frame)),
        "engine_per_pass_most": round(max(per_frame)),
        "measures_per_pass": round(statistics.mean(measures)),
        "frame": round(statistics.mean(whole)),
        "frame_adaptive": round(statistics.mean(adaptive)),
        "adaptive_passes": statistics.mean(passes),
        "same_decision": sum(same),
    }


def memory(elf):
    """Bytes of flash and RAM by section."""
    sections = {}
    for line in checked(["size", "-A", elf]).splitlines():
        words = line.split()
        if len(words) == 3 and words[0].startswith(".") and int(words[2]) + int(words[1]) > 0:
            sections[words[0]] = (int(words[1]), int(words[2]))
    allocated = [".vector_table", ".text", ".rodata", ".data", ".bss", ".uninit", ".gnu.sgstubs"]
    return {name[1:]: sections[name][0] for name in allocated if name in sections}


def symbol(elf, name):
    for line in checked(["nm", elf]).splitlines():
        if line.endswith(f" {name}"):
            return int(line.split()[0], 16)
    raise SystemExit(f"error: {elf} has no {name}")


def stack(host, elf, plan, frames, folder):
    """The peak stack of the firmware while it judges frames that the host sends."""
    summary = folder / "summary.json"
    command = [host, "flash", "--board", BOARD, "--qemu", "--elf", elf, "--plan", plan, "--no-monitor", "--json"]
    board = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = json.loads(board.stdout.readline())["port"]
        checked([host, "send", port, "--limit", frames, "--check", plan, "--json", "--summary", summary])
    finally:
        board.terminate()
        board.wait()
    room = symbol(elf, "_stack_start") - symbol(elf, "_stack_end")
    return {"room": room, "used": room - json.loads(summary.read_text())["stack_free"]}


def run(host, data, arguments):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        model = arguments.model
        if model is None:
            recipe = ["--epochs", "1", "--device", "cpu", "--limit-test", "1", "--passes", "1", "--calibration-images", "300"]
            checked([host, "train", "--out", folder, *recipe])
            model = folder / "model.onnx"
        images = (data / "t10k-images-idx3-ubyte").read_bytes()[16:][: arguments.images * PIXELS]
        rows = []
        for number_format in FORMATS:
            plan = folder / f"{number_format}.plan"
            checked([host, "export", "--model", model, "--firmware", "--format", number_format, "--passes", arguments.passes, "--out", plan])
            row = {"format": number_format, "plan_bytes": plan.stat().st_size}
            row |= trial(built("trial", number_format), plan, images, folder)
            elf = built(BOARD, number_format)
            row["sections"] = memory(elf)
            row["stack"] = stack(host, elf, plan, 20, folder)
            rows.append(row)
    for row in rows:
        parts = row["sections"]
        row["flash_bytes"] = row["plan_bytes"] + sum(parts.get(name, 0) for name in ["vector_table", "text", "rodata", "data"])
        row["ram_bytes"] = sum(parts.get(name, 0) for name in ["data", "bss", "uninit"]) + row["stack"]["used"]
        for key in ["frame", "frame_adaptive"]:
            row[f"{key}_ms_derived"] = row[key] / (MEGAHERTZ * 1000)
    if arguments.json:
        print(json.dumps({"board": BOARD, "megahertz": MEGAHERTZ, "rows": rows}))
        return
    print(f"LeNet on {rows[0]['images']} MNIST digits, T = {rows[0]['passes']}, emulated {BOARD} (Cortex-M4F), instructions:")
    lines = [
        ("stem, once a frame", "stem"),
        ("engine, a pass", "engine_per_pass"),
        ("  median digit", "engine_per_pass_median"),
        ("  most", "engine_per_pass_most"),
        ("measures, a pass", "measures_per_pass"),
        ("frame, all passes", "frame"),
        ("frame, adaptive", "frame_adaptive"),
    ]
    print(f"{'':24}" + "".join(f"{row['format']:>14}" for row in rows))
    for name, key in lines:
        print(f"{name:24}" + "".join(f"{row[key]:>14,}" for row in rows))
    print(f"{'adaptive passes':24}" + "".join(f"{row['adaptive_passes']:>14.1f}" for row in rows))
    print(f"{'same decision':24}" + "".join(f"{row['same_decision']:>10} of {row['images']}"[-14:].rjust(14) for row in rows))
    for name, key in [("ms a frame", "frame_ms_derived"), ("ms a frame, adaptive", "frame_adaptive_ms_derived")]:
        print(f"{name:24}" + "".join(f"{row[key]:>14.1f}" for row in rows) + f"   derived: {MEGAHERTZ} MHz, an instruction a cycle")
    print("bytes:")
    for name, value in [
        ("plan", lambda row: row["plan_bytes"]),
        ("code and constants", lambda row: row["flash_bytes"] - row["plan_bytes"]),
        ("flash", lambda row: row["flash_bytes"]),
        (".data, .bss, .uninit", lambda row: row["ram_bytes"] - row["stack"]["used"]),
        ("stack, peak", lambda row: row["stack"]["used"]),
        ("RAM", lambda row: row["ram_bytes"]),
        ("(room for the stack", lambda row: row["stack"]["room"]),
    ]:
        print(f"{name:24}" + "".join(f"{value(row):>14,}" for row in rows) + (")" if name[0] == "(" else ""))
