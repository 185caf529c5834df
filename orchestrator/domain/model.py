"""The base of every document: strict, immutable, camelCase on the wire and snake_case in Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from pydantic.alias_generators import to_camel

from orchestrator.domain.errors import InvalidSpec
from orchestrator.domain.faults import field_errors

Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$")]
"""Text of one line, without control characters: Postgres keeps no NUL, and a list shows no line breaks."""

if TYPE_CHECKING:
    _Metaclass = type
else:
    _Metaclass = type(BaseModel)


class _RefusesInOurWords(_Metaclass):
    """Building a model in Python raises InvalidSpec instead of pydantic's error. Validation of nested documents does
    not pass here, so that the outermost model reports every fault at once."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:  # noqa: N805 - the first argument of a metaclass is a class
        try:
            return super().__call__(*args, **kwargs)
        except ValidationError as error:
            model = cast("type[Model]", cls)
            faults = field_errors(error.errors(include_url=False), model, model.document_path)
            raise InvalidSpec.of(faults) from None


if TYPE_CHECKING:

    class _Base(BaseModel):
        pass

else:

    class _Base(BaseModel, metaclass=_RefusesInOurWords):
        pass


class Model(_Base):
    """A value of the domain. Unknown fields, NaN and infinity are refused; instances cannot be changed."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        populate_by_name=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
    )
    _stands_at: ClassVar[str] = ""

    @classmethod
    def document_path(cls, path: str) -> str:
        """Where a field of this model stands in a document, so that a fault has one path, however it was written."""
        return f"{cls._stands_at}.{path}" if cls._stands_at and path else cls._stands_at or path
