"""The stand-in for the Hub serves real clients, and refuses as the Hub does."""

import pytest
from hub_stand_in import TOKEN, HubStandIn
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


@pytest.fixture
def hub(tmp_path):
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "config.json").write_text('{"a": 1}')
    (folder / "deep" / "data.bin").write_bytes(bytes(range(200)))
    with HubStandIn() as hub:
        hub.folder = folder
        hub.add_model("org/open", folder)
        yield hub


def test_a_repository_is_described_listed_and_fetched_whole(hub, tmp_path):
    api = HfApi(endpoint=hub.url, token=False)
    info = api.model_info("org/open", files_metadata=True)
    assert {sibling.rfilename: sibling.size for sibling in info.siblings} == {"config.json": 8, "deep/data.bin": 200}
    assert {entry.path for entry in api.list_repo_tree("org/open")} == {"config.json", "deep"}
    assert [entry.path for entry in api.list_repo_tree("org/open", "deep")] == ["deep/data.bin"]
    assert [entry.size for entry in api.get_paths_info("org/open", ["config.json"])] == [8]
    where = snapshot_download("org/open", endpoint=hub.url, cache_dir=tmp_path / "cache", token=False)
    assert info.sha in where and hub.fetched("org/open") == 208
    with open(f"{where}/deep/data.bin", "rb") as stream:
        assert stream.read() == bytes(range(200))


def test_a_data_set_is_fetched_too(hub, tmp_path):
    hub.add_dataset("org/data", hub.folder)
    fetched = hf_hub_download(
        "org/data", "config.json", repo_type="dataset", endpoint=hub.url, cache_dir=tmp_path / "cache", token=False
    )
    with open(fetched) as stream:
        assert stream.read() == '{"a": 1}'


def test_it_refuses_as_the_hub_does(hub, tmp_path):
    hub.add_model("org/gated", hub.folder, gated=True)
    hub.add_model("org/private", hub.folder, private=True)
    hub.tokens["hf_other"] = "other"

    def fetch(repo, file="config.json", token=False, **how):
        cache = tmp_path / f"cache-{token}"
        return hf_hub_download(repo, file, endpoint=hub.url, cache_dir=cache, token=token, **how)

    for token in (False, "hf_other"):
        with pytest.raises(GatedRepoError):
            fetch("org/gated", token=token)
        for repo in ("org/private", "org/none"):
            with pytest.raises(RepositoryNotFoundError):
                fetch(repo, token=token)
    assert HfApi(endpoint=hub.url, token=False).model_info("org/gated").gated == "manual"
    assert hub.fetched("org/gated") == hub.fetched("org/private") == 0
    fetch("org/gated", token=TOKEN)
    fetch("org/private", token=TOKEN)
    with pytest.raises(RevisionNotFoundError):
        fetch("org/open", revision="v9")
    with pytest.raises(RemoteEntryNotFoundError):
        fetch("org/open", "none.json")
