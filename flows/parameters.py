"""Parameters that the forms in the Prefect UI show as drop-downs: what may be chosen is what the configuration holds.

Read when the flows are deployed: run `prefect deploy --all` again after an image set or a pool has been added, since a deployment keeps
the form, and the check of what was entered, that it was deployed with. What stands in a file that cannot be read is left out here; the
run says what is wrong with it.
"""

from typing import Annotated

from pydantic import Field

from evergold.config.load import list_host_pools, list_image_sets

ImageSetName = Annotated[str, Field(json_schema_extra={"enum": [*list_image_sets()]})]
PoolName = Annotated[str, Field(json_schema_extra={"enum": [*list_host_pools()]})]
ImageVersion = Annotated[str, Field(pattern=r"^\d+\.\d+\.\d+$")]
NewVersion = Annotated[str, Field(pattern=r"^(\d+\.\d+\.\d+)?$")]  # empty: as the image set says
SomeWords = Annotated[str, Field(min_length=2, max_length=100)]
Words = Annotated[str, Field(max_length=256)]  # what a tag holds
