"""Streams of records: an iterator that decodes them while they arrive, and how to close one early. Knows no client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, NoReturn, Protocol, TypeVar, overload

from ..errors import ProtocolError, RemoteError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from .markers import StreamCodec

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class ClosableIterator(Protocol[T_co]):
    """An iterator that any thread may close, which ends the iteration."""

    def __iter__(self) -> Iterator[T_co]: ...

    def __next__(self) -> T_co: ...

    def close(self) -> None:
        """End the iteration, in the thread that waits for an item, too."""


class RecordIterator(Iterator[T]):
    """The records of a stream that a remote method returns: an iterator, and a context manager that closes it.

    One thread iterates. `close` may be called in any thread at any time: a thread that waits for a record then stops
    iterating at once. The last reference closes it, too.

    Args:
        opened: opens the stream; its errors come from here.
        codec: decodes the records.
        add_context: adds plugin and method to the codec's errors.
        open_again: takes the plugin's error, and returns the stream opened again, or None. It is called once.
    """

    def __init__(
        self,
        opened: AbstractContextManager[BinaryIO],
        codec: StreamCodec,
        add_context: Callable[[ProtocolError | RemoteError], object],
        open_again: Callable[[RemoteError], AbstractContextManager[BinaryIO] | None] | None = None,
    ) -> None:
        self._opened: list[AbstractContextManager[BinaryIO]] = []
        self._codec = codec
        self._add_context = add_context
        self._open_again = open_again
        self._is_closed = False
        try:
            self._open(opened)
        except RemoteError as error:
            if not self._is_open_again(error):
                raise

    def _is_open_again(self, failure: BaseException) -> bool:
        """Open the stream again after a failure, if that helps; return whether it is open."""
        open_again, self._open_again = self._open_again, None
        again = open_again(failure) if open_again is not None and isinstance(failure, RemoteError) else None
        if again is not None:
            self._open(again)
            if self._is_closed:  # by another thread, which found no stream
                self._leave(None)
        return again is not None

    def _open(self, opened: AbstractContextManager[BinaryIO]) -> None:
        self._stream = opened.__enter__()
        self._opened.append(opened)
        self._records = self._codec.unpack(self._stream)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            record: T = next(self._records)
        except StopIteration:
            self.close()
            raise
        except BaseException as failure:
            if isinstance(failure, ValueError) and (not self._opened or self._stream.closed):
                self.close()  # the stream was closed with its client, if not by this method in another thread
                raise StopIteration from None
            if isinstance(failure, ProtocolError | RemoteError):
                self._add_context(failure)
            self._leave(failure)
            if not self._is_open_again(failure):
                raise
            if self._is_closed:
                raise StopIteration from None
            return next(self)
        return record

    def close(self) -> None:
        """End the stream. A thread that waits for a record stops iterating; what was not read is dropped."""
        self._is_closed = True
        self._leave(None)

    def _leave(self, failure: BaseException | None) -> None:
        try:
            opened = self._opened.pop()  # a single step, so that only one thread leaves it
        except IndexError:
            return
        opened.__exit__(type(failure) if failure else None, failure, failure.__traceback__ if failure else None)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled or copied, as its connection belongs to this process: send its "
            "records"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_opened"):
            self.close()


@overload
def closing(iterator: AsyncIterator[T]) -> AbstractAsyncContextManager[AsyncIterator[T]]: ...
@overload
def closing(iterator: Iterator[T]) -> AbstractContextManager[ClosableIterator[T]]: ...
def closing(iterator: Any) -> Any:
    """Return a context manager that closes a stream of records at the end of its block, also when that is left early.

    ::

        with extframe.closing(logs.read_logs(info)) as entries:  # entries.close() may be called in any thread
            for entry in entries:
                ...

        async with extframe.closing(async_logs.read_logs(info)) as entries:
            async for entry in entries:
                ...

    Unlike ``contextlib.closing`` and ``aclosing`` it accepts what remote methods are declared to return: any iterator
    or async iterator. One without ``close`` or ``aclose`` is not closed.

    Raises:
        TypeError: it is not an iterator.
    """
    if isinstance(iterator, AsyncIterator):
        return _AsyncClosing(iterator)
    if isinstance(iterator, Iterator):
        return _Closing(iterator)
    raise TypeError(f"closing() takes an iterator or async iterator, not {type(iterator).__name__}")


class _Closing(AbstractContextManager[Iterator[T]], Generic[T]):
    def __init__(self, iterator: Iterator[T]) -> None:
        self._iterator = iterator

    def __enter__(self) -> Iterator[T]:
        return self._iterator

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close = getattr(self._iterator, "close", None)
        if close is not None:
            close()


class _AsyncClosing(AbstractAsyncContextManager[AsyncIterator[T]], Generic[T]):
    def __init__(self, iterator: AsyncIterator[T]) -> None:
        self._iterator = iterator

    async def __aenter__(self) -> AsyncIterator[T]:
        return self._iterator

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        close = getattr(self._iterator, "aclose", None)
        if close is not None:
            await close()
