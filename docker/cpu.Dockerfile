# secateur for CPUs: prune, repair, export, measure and judge by ONNX Runtime.
#   docker build -f docker/cpu.Dockerfile -t secateur .
#   docker run --rm -v "$PWD:/work" secateur demo --out runs/demo
FROM python:3.12-slim AS wheel
COPY . /source
RUN pip install --no-cache-dir build && python -m build --wheel --outdir /wheels /source

FROM python:3.12-slim
# TORCH_INDEX: where wheels of PyTorch without CUDA come from; empty: the ones with CUDA, which are larger
ARG TORCH_INDEX=
COPY --from=wheel /wheels /wheels
# a C++ compiler, for packages that have no wheel for this machine
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision \
    && pip install --no-cache-dir "$(ls /wheels/*.whl)[cpu]" && rm -rf /wheels
WORKDIR /work
ENTRYPOINT ["secateur"]
