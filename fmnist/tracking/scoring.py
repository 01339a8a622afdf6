"""MLflow's scoring server for one model, `python -m fmnist.tracking.scoring`, as `fmnist.champion serve` starts it.

It answers as MLflow's own does, but that no mistaken request is answered by more than a 4xx.
"""

import os
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import uvicorn

from fmnist.config import ComputeConfig, Config, UserError
from fmnist.signals import end_with
from fmnist.tracking import address
from fmnist.tracking.registry import load_model
from fmnist.words import harmless

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

MOST_BYTES = 64_000_000  # of a request: 10,000 images in JSON have 40 million
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class OfPixels:
    """A model that refuses numbers that are no pixels, where MLflow's signature asks for type and shape alone."""

    def __init__(self, model: Any) -> None:
        """As MLflow has loaded it."""
        self._model, self.metadata = model, model.metadata

    def predict(self, data: Any, params: Any = None) -> Any:
        """The model's probabilities."""
        from mlflow.exceptions import MlflowException

        values = np.asarray(data)
        if values.dtype.kind in "iuf" and not ((values >= 0) & (values <= 255)).all():
            raise MlflowException.invalid_parameter_value("a pixel must be from 0 to 255")
        return self._model.predict(data, params)


class Careful:
    """Stands before MLflow's application, and answers what that would leave to the web server."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        """Before this application."""
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on; one that is too large is read to its end, for only then a client reads the answer."""
        size, is_answered = 0, False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            while size > MOST_BYTES and message.get("more_body"):
                message = await receive()
            if size > MOST_BYTES:
                raise ValueError
            return message

        async def noted(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except Exception as error:
            if is_answered or scope["type"] != "http":
                raise
            status, text = 400, f"the request cannot be read ({error}); ask with Content-Type: application/json"
            if size > MOST_BYTES:
                status, text = 413, f"a request may have {MOST_BYTES:,} bytes"
            head = [(b"content-type", b"text/plain; charset=utf-8")]
            await send({"type": "http.response.start", "status": status, "headers": head})
            await send({"type": "http.response.body", "body": harmless(text, 300).encode()})


def serve(place: str, host: str, port: int, config: Config) -> None:
    """Serve a model once it has answered its own example."""
    model = load_model(address(""), place, config)
    from mlflow.pyfunc import scoring_server

    if model.input_example is not None:
        model.predict(model.input_example)
    app = scoring_server.init(cast("PyFuncModel", OfPixels(model)))
    app.add_middleware(Careful)
    uvicorn.run(app, host=host, port=port, log_level="warning")


def main() -> None:
    """Serve what the arguments name, of the store of MLFLOW_TRACKING_URI, as long as the parent process lives."""
    end_with(os.getppid())
    place, host, port, backend, threads = sys.argv[1:]
    try:
        serve(place, host, int(port), Config(compute=ComputeConfig(backend=backend, threads=int(threads))))
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
