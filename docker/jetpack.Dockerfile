# The runner of bundles on a Jetson: Python, numpy, Pillow and the TensorRT of JetPack. No PyTorch, no secateur.
#   tar -xf half.tar && docker build -f docker/jetpack.Dockerfile -t bundle bundle
#   docker run --rm --runtime nvidia bundle verify
# BASE is NVIDIA's image with the TensorRT of the board's JetPack: engines load in that version alone.
ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends python3-numpy python3-pil \
    && rm -rf /var/lib/apt/lists/*
COPY . /bundle
WORKDIR /bundle
ENTRYPOINT ["python3", "-m", "bundle_runner"]
CMD ["verify"]
