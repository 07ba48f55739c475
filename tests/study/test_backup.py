import json
import os
import zipfile

import pytest

from synthcohort.core.errors import ArtifactError, InputError
from synthcohort.study.access import invitation
from synthcohort.study.backup import backup, open_store, restore
from synthcohort.study.store import TABLES, Store, Taken


def everything(store: Store) -> dict:
    return {name: sorted(store.rows(f"SELECT * FROM {name}"), key=str) for name in TABLES if name != "sessions"}


@pytest.fixture
def answered(served, tools):
    client = served.browser("anna-code")
    page = tools.press(client, client.get("/").text)
    page = tools.press(client, page.text)
    for _ in range(4):
        page = tools.answer(client, page.text, answer="1", confidence="2")
    return served


def test_a_restored_study_goes_on_where_it_stopped(answered, tools, tmp_path):
    before = tools.item_on(answered.browser("anna-code").get("/").text)
    kept = everything(answered.store)
    assert backup(answered.folder, tmp_path / "b.zip")["answers"] == 4
    assert os.stat(tmp_path / "b.zip").st_mode & 0o077 == 0
    restore(tmp_path / "b.zip", tmp_path / "again")
    store = open_store(tmp_path / "again")
    assert everything(store) == kept
    store.close()
    again = tools.Served(tmp_path / "again")
    try:
        client = again.browser()
        client.post(f"/join/{invitation(again.secret, 'anna-code', 0)}", headers=tools.form, content="")
        page = client.get("/")
        assert tools.item_on(page.text) == before
        assert (
            client.get(f"/image/{before}/a").content == answered.browser("anna-code").get(f"/image/{before}/a").content
        )
        tools.answer(client, page.text, answer="0", confidence="1")
        assert len(again.store.rows("SELECT * FROM answers")) == 5
    finally:
        again.close()


def tampered(source, target, name: str, data: bytes) -> None:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.namelist():
            new.writestr(entry, data if entry == name else old.read(entry))


def test_a_damaged_or_hostile_backup_is_refused_and_leaves_nothing(answered, tmp_path):
    backup(answered.folder, tmp_path / "b.zip")
    tampered(tmp_path / "b.zip", tmp_path / "c.zip", "tables/answers.jsonl", b"")
    with pytest.raises(ArtifactError, match="damaged"):
        restore(tmp_path / "c.zip", tmp_path / "x")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        said = json.loads(archive.read("backup.json"))
    for name in ("../evil", "images/../../evil", "/etc/evil", "images/.."):
        hostile = json.dumps({**said, "files": {**said["files"], name: "sha256:0"}}).encode()
        tampered(tmp_path / "b.zip", tmp_path / "d.zip", "backup.json", hostile)
        with pytest.raises(ArtifactError, match="not ours"):
            restore(tmp_path / "d.zip", tmp_path / "x")
    (tmp_path / "e.zip").write_bytes(b"no zip")
    with pytest.raises(ArtifactError, match="cannot be read"):
        restore(tmp_path / "e.zip", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert not (tmp_path.parent / "evil").exists()


def test_a_transaction_is_whole_or_absent(served):
    row = {"person": "anna-code", "what": "half", "at": 1.0}
    with pytest.raises(Taken), served.store.writing() as write:
        write.add_all("milestones", [row, row])
    assert served.store.rows("SELECT * FROM milestones") == []
    with served.store.writing() as write:
        write.add("milestones", person="anna-code", what="once", at=1.0)
    with pytest.raises(Taken), served.store.writing() as write:
        write.add("milestones", person="anna-code", what="once", at=2.0)


def test_folders_that_are_no_study_say_so(tmp_path, served):
    with pytest.raises(InputError, match="is not a study"):
        open_store(tmp_path)
    with pytest.raises(InputError, match="kept in SQLite"):
        open_store(served.folder, "postgresql://nowhere/x")
