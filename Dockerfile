# The server, on a CPU: docs/serving.md. Models other than those that ship are mounted and named: --model /models/mine
FROM python:3.12-slim

# PyTorch without CUDA; another index brings another build.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# `video` brings an ffmpeg, for m4a, mp4 and webm.
ARG EXTRAS=serve,video

WORKDIR /app
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt --extra-index-url "$TORCH_INDEX" torch
COPY pyproject.toml setup.py README.md LICENSE ./
COPY configs configs
COPY checkpoints checkpoints
COPY emotion2vec emotion2vec
RUN pip install --no-cache-dir -c constraints.txt --extra-index-url "$TORCH_INDEX" ".[$EXTRAS]"

RUN useradd --uid 1000 --create-home emotion2vec
USER emotion2vec
WORKDIR /home/emotion2vec

EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]

# Other machines reach it, so it does not start without a token. What follows the image's name are options of `serve`.
ENTRYPOINT ["sh", "-c", ": \"${EMOTION2VEC_TOKEN:?set it to the token that requests must bear}\" && exec emotion2vec serve --host 0.0.0.0 --port 8000 \"$@\"", "serve"]
