# The face-recognition function: code, model and gallery in one image; nothing is fetched at a
# cold start. Build it for Lambda, which refuses an OCI index with attestations:
#   docker build --platform linux/amd64 --provenance=false --sbom=false -t face-recognition .
# It needs data.pt (the gallery that face-recognition/enroll.py makes) beside this file.
ARG BASE_IMAGE=public.ecr.aws/lambda/python:3.12

FROM ${BASE_IMAGE} AS build
ARG MODEL=facenet-vggface2
WORKDIR /build
COPY face-recognition/requirements.txt ./
# The list is complete; facenet-pytorch's own pins would forbid current torch (--no-deps). CPU
# builds of torch have an index of their own; PyPI's pull gigabytes of CUDA.
RUN python -m pip install --no-cache-dir --disable-pip-version-check --no-deps --target /packages \
      --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt \
 && find /packages -name '*.a' -delete \
 && rm -rf /packages/torch/include /packages/torch/test /packages/bin
COPY face-recognition/models.py ./
RUN PYTHONPATH=/packages python models.py fetch "${MODEL}" --dir /models

FROM ${BASE_IMAGE}
ARG MODEL=facenet-vggface2
# Lambda's file system is read-only but for /tmp, and the user has no home directory.
ENV HOME=/tmp TORCH_HOME=/tmp MODEL=${MODEL} PYTHONDONTWRITEBYTECODE=1
COPY --from=build /packages ${LAMBDA_TASK_ROOT}/
COPY --from=build /models ${LAMBDA_TASK_ROOT}/models/
COPY face-recognition/*.py ${LAMBDA_TASK_ROOT}/
COPY data.pt ${LAMBDA_TASK_ROOT}/data.pt
CMD ["handler.handler"]
