import pytest

from modelyard.core.errors import IllegalMove
from modelyard.deploy.states import LIFECYCLES, RELEASE, RESIDENCE, VERSION

TABLES = pytest.mark.parametrize("table", LIFECYCLES, ids=lambda table: table.what)


@TABLES
def test_every_state_can_be_reached(table):
    seen, fresh = set(), {table.start}
    while fresh:
        seen |= fresh
        fresh = {then for (state, _), then in table.moves.items() if state in seen} - seen
    assert seen == set(table.states())


@TABLES
def test_every_pair_moves_or_is_refused_with_what_is_allowed(table):
    verbs = {verb for _, verb in table.moves}
    for state in table.states():
        for verb in verbs:
            if (state, verb) in table.moves:
                assert table.next(state, verb) == table.moves[state, verb]
                continue
            with pytest.raises(IllegalMove) as refused:
                table.next(state, verb, "7 of iris")
            assert f"cannot {verb} {table.what} 7 of iris: it is {state}" in refused.value.message
            assert all(allowed in refused.value.message for allowed in table.allowed(state))


@TABLES
def test_the_diagram_has_every_row(table):
    drawn = table.mermaid().splitlines()
    assert drawn[:2] == ["stateDiagram-v2", f"    [*] --> {table.start}"]
    assert len(drawn) == 2 + len(table.moves)


def test_a_removed_version_stays_removed():
    assert VERSION.allowed("removed") == ()
    with pytest.raises(IllegalMove, match="nothing may follow"):
        VERSION.next("removed", "restore")


def test_a_copy_serves_only_after_its_proof():
    """Take the proof away, and nothing serves."""
    reached, fresh = set(), {"absent"}
    while fresh:
        reached |= fresh
        rows = RESIDENCE.moves.items()
        fresh = {then for (state, verb), then in rows if state in reached and verb != "proved"} - reached
    assert "serving" not in reached


def test_the_page_shows_the_tables(request):
    page = (request.config.rootpath / "docs/architecture/06-releases.md").read_text()
    for table in LIFECYCLES:
        assert f"```mermaid\n{table.mermaid()}\n```" in page


def test_a_release_begins_with_nothing():
    assert RELEASE.start == "none"
