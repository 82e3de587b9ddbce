"""What the compiler makes of the kernels for GPUs, none of which is needed here.

Each kernel is compiled for each kind of data at least once, and for each GPU where its launch
differs; `python -m lnlib.kernels.machine_code` compiles all combinations.
"""

import pytest

pytest.importorskip("triton", reason="there is no Triton for this system")
from lnlib.experiments import recorded
from lnlib.kernels import launch
from lnlib.kernels.machine_code import (
    NORMS,
    SIZES,
    TARGETS,
    cases,
    in_flight,
    launches,
    offset_bits,
    resident,
    shared_limit,
    survey_apart,
    table,
)

SELECTION = (  # row lengths, capabilities, dtypes, norms
    ((64, 1000, 16384, 65536), (90,), ("bf16",), ("layer_norm",)),
    ((32768,), (90,), ("bf16",), ("rms_norm", "add_rms_norm")),
    ((4096, 8192), (86,), ("fp32",), ("add_layer_norm",)),
    ((32768,), (80,), ("fp32",), ("layer_norm",)),
    ((1001, 4100, 12_001), (86,), ("bf16",), ("layer_norm",)),  # rows begin anywhere
    ((1004, 5004), (90,), ("bf16",), ("layer_norm",)),
    ((4096, 8192), (89,), ("fp64",), ("add_layer_norm",)),
    ((1024,), (75,), ("bf16",), ("add_rms_norm",)),
)


@pytest.fixture(scope="module")
def survey():
    """A selection of launches, compiled where the interpreter is off."""
    return survey_apart(case for part in SELECTION for case in cases(*part))


def test_covers_every_kernel_dtype_and_target(survey):
    kernels = {f"{kind}_kernel" for kind in (
        "forward", "pairs_forward", "wide_forward",
        "backward", "strips_backward", "row_means", "wide_backward",
    )}  # fmt: skip
    assert {f.kernel for f in survey} == kernels
    assert {f.dtype for f in survey} == SIZES.keys()
    assert {f.norm for f in survey} == set(NORMS)
    assert {f.capability for f in survey} == set(TARGETS.values())


def test_nothing_spills(survey):
    """But one value a row of the longest rows that keep their sums in registers.

    Since Triton 3.8, that holds for those half as long, too. And two values of long rows that begin
    at multiples of 8 bytes, stored once and loaded twice: with twice as many warps there are none,
    but 29 KiB under way instead of 48.
    """
    known = {("strips_backward_kernel", norm, 32_768): 2 for norm in ("rms_norm", "add_rms_norm")}
    known["strips_backward_kernel", "layer_norm", 16_384] = 2
    known["forward_kernel", "layer_norm", 5004] = 3
    spilled = {(f.kernel, f.norm, f.columns): f.spills for f in survey if f.spills}
    assert {which: n for which, n in spilled.items() if n > known.get(which, 0)} == {}


def test_registers_leave_room_for_all_threads(survey):
    assert [f for f in survey if f.registers * 32 * f.warps > 65536] == []


def test_every_program_that_is_launched_is_resident(survey):
    for f in survey:
        *_, how = launches(f.columns, f.dtype, f.norm, f.capability)
        if f.kernel == how.kernel:
            assert f.programs == how.programs, f
        assert f.programs > 0


def test_offsets_reach_beyond_two_to_the_31_elements(survey):
    assert {f.offset_bits for f in survey} == {64}


def test_offset_bits_sees_the_narrow_ones():
    row = "%X_1 = tt.addptr %X, %0 : !tt.ptr<bf16>, i64 loc(#loc1)"
    gain = "%w = tt.addptr %w_0, %8 : tensor<1x256x!tt.ptr<bf16>>, tensor<1x256xi32> loc(#loc1)"
    tile = "%x = tt.splat %X : !tt.ptr<bf16> -> tensor<4x256x!tt.ptr<bf16>> loc(#loc1)"
    narrow = "%x_1 = tt.addptr %x, %8 : tensor<4x256x!tt.ptr<bf16>>, tensor<4x256xi32> loc(#loc1)"
    assert offset_bits(f"{row}\n{gain}") == 64
    assert offset_bits(f"{gain}\n{tile}\n{narrow}") == 32


def test_shared_memory_fits(survey):
    assert [f for f in survey if f.shared > shared_limit(f.capability)] == []


def test_the_launch_knows_how_much_shared_memory_it_asks_for(survey):
    """One more turn under way would not fit, or is not wanted."""
    for f in survey:
        if f.kernel == "backward_kernel" and f.capability >= 80:
            (how,) = launches(f.columns, f.dtype, f.norm, f.capability)[1:]
            size = SIZES[f.dtype]
            turn = (3 if "add" in f.norm else 2) * how.rows * how.columns * size
            rest = f.shared - turn * (how.stages - 1)
            assert rest <= launch.scratch(f.columns, size, how.warps) + 2048 * (how.rows > 1), f
            assert how.stages > 2 or f.shared + turn > shared_limit(f.capability)


def test_rows_are_loaded_16_bytes_at_a_time(survey):
    """Beside a few scalars, which are the statistics of a row and a row's first entry."""
    whole = [f for f in survey if f.columns * SIZES[f.dtype] % 16 == 0]
    assert 0 < len(whole) < len(survey)
    assert [f for f in whole if f.narrow > 3] == []
    assert [f for f in whole if not (f.wide or f.asynchronous)] == []


def test_the_backward_pass_prefetches_rows_where_the_gpu_can(survey):
    """An asynchronous copy moves 4 bytes or more: too many for an odd number of 16-bit entries.

    Then only what is known of a row comes in advance: rstd, the mean in two parts, the row's means.
    """
    unaligned = set()
    for f in survey:
        *_, how = launches(f.columns, f.dtype, f.norm, f.capability)
        prefetches = f.kernel in ("backward_kernel", "wide_backward_kernel") and f.capability >= 80
        center, wide = "layer" in f.norm, "wide" in f.kernel
        numbers = (5 if wide else 3) if center else (2 if wide else 1)
        known = how.stages * numbers if prefetches else 0
        possible = f.columns * SIZES[f.dtype] % 4 == 0
        assert (f.asynchronous > known) == (prefetches and possible), f
        if prefetches and f.columns * SIZES[f.dtype] % 16:
            unaligned.add(possible)
    assert unaligned == {False, True}


def test_a_multiprocessor_runs_what_its_warps_registers_and_shared_memory_hold():
    how = launch.forward(4096)
    assert resident(how, registers=32, shared=0, capability=90) == 8  # 64 warps
    assert resident(how, registers=40, shared=0, capability=90) == 6  # 65536 registers
    assert resident(how, registers=40, shared=56 * 1024, capability=90) == 4
    assert resident(how, registers=40, shared=0, capability=86) == 6  # 48 warps
    assert resident(launch.forward(64), registers=16, shared=0, capability=86) == 12


def test_bytes_in_flight():
    assert in_flight(launch.forward(4096), 4096, 2, residual=False, capability=90) == 8192
    (how,) = launch.backward(1024)
    assert in_flight(how, 1024, 2, residual=False, capability=90) == 2 * 2 * 2048
    assert in_flight(how, 1000, 4, residual=True, capability=80) == 3 * 2 * 4000
    (how,) = launch.backward(1001)
    assert how.stages == 4
    assert in_flight(how, 1001, 2, residual=False, capability=90) == 2 * 2002  # not in advance
    (how,) = launch.backward(4096, shared=shared_limit(75))
    assert how.stages == 4
    assert in_flight(how, 4096, 2, residual=False, capability=75) == 2 * 8192  # not in advance


def test_table_shows_every_row(survey):
    assert len(table(survey).splitlines()) == 1 + len(survey)


@pytest.mark.parametrize("size", [2, 4, 8])
@pytest.mark.parametrize("center", [False, True])
def test_launches_cover_every_row_length(size, center):
    for columns in (1, 2, 255, 257, 8192, 8193, 16_384, 16_386, 32_770, 65_537, 262_144):
        forward = launch.forward(columns, size, center=center)
        *before, last = launch.backward(columns, size, center=center)
        for how in (forward, last):
            assert how.columns & (how.columns - 1) == 0
            across = how.tiles(1, columns)[1]
            assert across == 1 or "wide" in how.kernel
            assert across * how.columns * (how.strips or 1) >= columns
        assert bool(before) == ("wide" in last.kernel)


@pytest.mark.parametrize(("dtype", "size", "loss"), [("bfloat16", 2, 0.006), ("float32", 4, 0.03)])
def test_the_rule_is_among_the_fastest_launches_that_were_recorded(dtype, size, loss):
    """Of those without cache hints, for rows that both the prototype and ours go over whole."""
    found = {}
    for row in recorded("h100-search").where(dtype=dtype):
        options, forward = row["options"], row["passed"] == "forward"
        kind, center = (
            (row["design"], row["operation"], row["columns"]),
            "layer" in row["operation"],
        )
        pick = launch.forward if forward else lambda *a, **k: launch.backward(*a, **k)[-1]
        how = pick(row["columns"], size, center=center)
        usual = "EV" not in options and (options.get("STATS") or not forward)
        if row["design"] in ("fwd", "bwd") and how.rows and usual:
            chosen = (how.rows, how.warps, how.stages, how.programs)
            this = (options["BM"], row["warps"], options.get("STAGES"), options.get("each"))
            found.setdefault(kind, {}).setdefault(this == chosen, []).append(row["ms"])
    known = {kind: times for kind, times in found.items() if True in times}
    assert len(known) >= len(found) - 1  # one length was not tried with as many warps
    for kind, times in known.items():
        assert min(times[True]) <= (1 + loss) * min(times[True] + times[False]), kind


@pytest.mark.parametrize("capability", TARGETS.values())
@pytest.mark.parametrize("dtype", SIZES)
@pytest.mark.parametrize("norm", NORMS)
def test_every_prefetched_turn_fits_into_shared_memory(norm, dtype, capability):
    for columns in (64, 1000, 1001, 1024, 2048, 4096, 4100, 5120, 8191, 8192):
        *_, how = launches(columns, dtype, norm, capability)
        if how.kernel == "backward_kernel":
            turn = (3 if "add" in norm else 2) * how.rows * how.columns * SIZES[dtype]
            assert 0 < how.stages <= 4
            rest = launch.scratch(columns, SIZES[dtype], how.warps)
            assert turn * (how.stages - 1) + rest <= shared_limit(capability)


def test_a_launch_cannot_be_changed():
    with pytest.raises(AttributeError, match="cannot assign"):
        launch.forward(64).warps = 8
