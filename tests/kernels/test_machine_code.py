"""What the compiler makes of the kernels for three GPUs, none of which is needed here."""

import pytest

pytest.importorskip("triton", reason="there is no Triton for this system")
from lnlib.kernels import launch
from lnlib.kernels.machine_code import (
    TARGETS,
    WIDTHS,
    launches,
    offset_bits,
    survey_apart,
    table,
)


@pytest.fixture(scope="module")
def survey():
    """Every kernel, launch and target, compiled where the interpreter is off."""
    return survey_apart(WIDTHS, TARGETS.values())


def test_covers_every_kernel_row_length_and_target(survey):
    found = [(f.capability, f.columns, f.kernel) for f in survey]
    assert found == [
        (capability, columns, how.kernel)
        for capability in TARGETS.values()
        for columns in WIDTHS
        for how in launches(columns)
    ]
    two = {f"{wide}{way}_kernel" for wide in ("", "wide_") for way in ("forward", "backward")}
    assert {f.kernel for f in survey} == two | {"row_sums_kernel"}


def test_nothing_spills(survey):
    assert [f for f in survey if f.spills] == []


def test_registers_leave_room_for_all_threads(survey):
    assert [f for f in survey if f.registers * 32 * f.warps > 65536] == []


def test_offsets_reach_beyond_two_to_the_31_elements(survey):
    assert {f.offset_bits for f in survey} == {64}


def test_offset_bits_sees_the_narrow_ones():
    narrow = "%9 = tt.addptr %7, %8 : tensor<4x256x!tt.ptr<bf16>>, tensor<4x256xi32> loc(#loc1)"
    scalar = "%2 = tt.addptr %X, %1 : !tt.ptr<bf16>, i64 loc(#loc1)"
    assert offset_bits(f"{scalar}\n{narrow}") == 32
    assert offset_bits(scalar) == 64


def test_shared_memory_fits(survey):
    limit = {75: 64 * 1024, 80: 163 * 1024, 90: 227 * 1024}
    assert [f for f in survey if f.shared > limit[f.capability]] == []


def test_rows_are_loaded_16_bytes_at_a_time(survey):
    """Beside a few scalars, which are the statistics of a row and a row's first entry."""
    assert [f for f in survey if "forward" in f.kernel and f.narrow > 1] == []
    assert [f for f in survey if not (f.wide or f.asynchronous)] == []


def test_the_backward_pass_prefetches_where_the_gpu_can(survey):
    for f in survey:
        prefetches = "backward" in f.kernel and f.capability >= 80
        assert (f.asynchronous > 0) == prefetches, f


def test_a_row_of_one_warp_needs_no_barrier(survey):
    alone = [f for f in survey if f.kernel == "forward_kernel" and 512 < f.columns <= 1024]
    assert len(alone) == 3 * len(TARGETS)
    assert [f for f in alone if f.warps > 1 or f.barriers] == []


def test_table_shows_every_row(survey):
    assert len(table(survey).splitlines()) == 1 + len(survey)


def test_launches_cover_every_row_length():
    for columns in (1, 2, 255, 257, launch.ROW, launch.ROW + 1, 262_144):
        forward, backward = launch.forward(columns), launch.backward(columns)
        assert (forward.rows is None) == (columns > launch.ROW)
        assert (len(backward) == 2) == (columns > launch.ROW_BACKWARD)
        for how, longest in ((forward, launch.ROW), (backward[0], launch.ROW_BACKWARD)):
            assert how.columns >= columns or columns > longest
            assert how.tiles(1, columns) == (1, -(-columns // how.columns))


def test_a_launch_cannot_be_changed():
    with pytest.raises(AttributeError, match="cannot assign"):
        launch.forward(64).warps = 8
