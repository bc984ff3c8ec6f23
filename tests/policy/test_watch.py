"""Changes of the policy files are noticed, however they are made."""

import os

from gateway.policy.watch import Watcher


def settled(watcher: Watcher):
    """The first look sees that something moves, the second that it has come to rest."""
    assert watcher.changed() is None
    return watcher.changed()


def test_a_file_that_is_written_byte_by_byte_is_taken_when_it_is_whole(tmp_path):
    """OPS-10: every half of it that is valid YAML would be a policy of its own."""
    file = tmp_path / "a.yaml"
    file.write_text("models: {}\n")
    watcher = Watcher(tmp_path)
    text = b"callers:\n  a: {}\n  b: {}\n"
    with file.open("wb", buffering=0) as stream:
        for byte in text:
            stream.write(bytes([byte]))
            assert watcher.changed() is None
    assert watcher.changed() == (("a.yaml", text),)


def test_nothing_changed_is_nothing(tmp_path):
    (tmp_path / "a.yaml").write_text("models: {}\n")
    watcher = Watcher(tmp_path)
    assert watcher.changed() is None
    os.utime(tmp_path / "a.yaml", (1, 1))
    assert watcher.changed() is None


def test_a_file_written_in_place_is_noticed_once(tmp_path):
    (tmp_path / "a.yaml").write_text("models: {}\n")
    watcher = Watcher(tmp_path)
    (tmp_path / "a.yaml").write_text("callers: {}\n")
    assert settled(watcher) == (("a.yaml", b"callers: {}\n"),)
    assert watcher.changed() is None


def test_an_atomic_rename_is_noticed(tmp_path):
    (tmp_path / "a.yaml").write_text("models: {}\n")
    watcher = Watcher(tmp_path)
    (tmp_path / "new").write_text("limits: {}\n")
    (tmp_path / "new").rename(tmp_path / "a.yaml")
    assert settled(watcher) == (("a.yaml", b"limits: {}\n"),)


def test_the_symlink_swap_of_kubernetes_is_noticed_as_one_change(tmp_path):
    """OPS-10: two files that change together are read together."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "a.yaml").write_text(f"# {version}\n")
        (tmp_path / version / "b.yaml").write_text(f"# {version}\n")
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    (mounted / "..data").symlink_to(tmp_path / "v1")
    for name in ("a.yaml", "b.yaml"):
        (mounted / name).symlink_to(f"..data/{name}")
    watcher = Watcher(mounted)
    (mounted / "..new").symlink_to(tmp_path / "v2")
    (mounted / "..new").rename(mounted / "..data")
    assert settled(watcher) == (("a.yaml", b"# v2\n"), ("b.yaml", b"# v2\n"))


def test_a_file_that_comes_or_goes_is_noticed(tmp_path):
    (tmp_path / "a.yaml").write_text("models: {}\n")
    watcher = Watcher(tmp_path)
    (tmp_path / "b.yaml").write_text("limits: {}\n")
    assert len(settled(watcher) or ()) == 2
    (tmp_path / "b.yaml").unlink()
    assert len(settled(watcher) or ()) == 1


def test_a_file_that_the_policy_leads_to_is_watched_too(tmp_path):
    """OPS-25: a rotated provider key takes effect without a restart."""
    key = tmp_path / "secrets" / "key"
    key.parent.mkdir()
    key.write_text("sk-1")
    policies = tmp_path / "policies"
    policies.mkdir()
    text = b"providers:\n  p: {api_key: 'file:../secrets/key'}\n"
    (policies / "a.yaml").write_bytes(text)
    watcher = Watcher(policies)
    key.write_text("sk-22")
    assert settled(watcher) == (("a.yaml", text),)
    assert watcher.changed() is None
    key.unlink()
    assert settled(watcher) == (("a.yaml", text),)
