"""A ring that wants an approval of its own: asked once for each ring and evidence, and never again."""

from evergold import tags
from evergold.config.models import Ring
from evergold.images.publish import ensure_ring_approved, find_version
from evergold.images.refresh import Refresh, definition_of
from tasks.rings import let_in, ring_digest
from tests.support.rollouts import NEW, world
from tests.support.simulated import Simulated, simulated


def test_each_ring_and_each_evidence_has_a_question_of_its_own() -> None:
    keys = {ring_digest(digest, ring)[:12] for digest in ("evidence-1", "evidence-2") for ring in ("pilot", "broad")}
    assert len(keys) == 4


def test_nobody_is_asked_again_about_a_ring_that_the_version_was_let_into() -> None:
    async def body(world: Simulated) -> None:
        refresh = Refresh(id="office-1", image_set="office", version=NEW, source="a source")
        owner = {tags.REFRESH: refresh.id}
        await world.azure.galleries.update_version(definition_of(world.image_set), NEW, set_tags=owner)
        ring: Ring = world.image_set.rings[0]
        await ensure_ring_approved(world.azure, world.image_set, refresh, ring.name, "Ada", "immediate")
        assert await let_in(world.azure, world.image_set, refresh, ring) == "immediate"
        found = await find_version(world.azure, world.image_set, NEW)
        assert found is not None
        assert found.tags[f"evergold-ring-{ring.name}"].endswith("|immediate|Ada")

    simulated(body, **world())
