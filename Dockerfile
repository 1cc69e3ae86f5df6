# The face-recognition function: code, model and gallery in one image, so that a cold start fetches
# nothing. deploy/image.py builds and pushes it. To build it by hand (Lambda refuses an OCI index
# with attestations):
#   docker build --platform linux/amd64 --provenance=false --sbom=false -t face-recognition .
# data.pt is the gallery that face-recognition/enroll.py makes. If it is not next to this file, set
# GALLERY_URI to a gallery in S3.
ARG BASE_IMAGE=public.ecr.aws/lambda/python:3.12

FROM ${BASE_IMAGE} AS build
ARG MODEL=facenet-vggface2
# pip's settings, for builds that use a mirror. CPU builds of torch come from a separate index;
# PyPI's builds pull in gigabytes of CUDA.
ARG PIP_INDEX_URL PIP_FIND_LINKS PIP_CERT PIP_RETRIES=1 \
    PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY face-recognition/requirements*.txt /build/
# What the function runs on, without tests.
# umask: whatever the builder's is, Lambda's user must be able to read the files.
WORKDIR /task
RUN umask 022 && python -m pip install --no-deps --require-hashes --only-binary :all: --target . \
      -r /build/requirements.txt \
 && rm -rf bin share numpy/tests numpy/*/tests numpy/f2py
# What the networks are made from. --no-deps, because the lists are complete and facenet-pytorch's
# pins would forbid current torch. torch's headers, tests and tools are removed, and the packages
# that only torch.compile imports.
WORKDIR /torch
RUN umask 022 && python -m pip install --no-deps --require-hashes --only-binary :all: --target . \
      -r /build/requirements-build.txt \
 && mv torch/bin/torch_shm_manager . && rm -rf torch/bin/* && mv torch_shm_manager torch/bin/ \
 && rm -rf torch/include torch/test torch/lib/*.a bin share \
      sympy sympy-* isympy.py mpmath mpmath-* networkx networkx-*
COPY face-recognition/models.py face-recognition/command_line.py /build/
RUN umask 022 && python /build/models.py fetch "${MODEL}" --dir /models
# Of botocore's descriptions of AWS only those that the function needs are kept. Networks that do not
# agree with torch's fail the build. ENGINE=torch puts torch itself and the model into the function instead.
ARG ENGINE=ncnn
COPY face-recognition/*.py data.p[t] /check/
RUN umask 022 && chmod -R a+rX /check && python -m compileall -q /check \
 && PYTHONPATH=/task python /check/s3_data.py /check/s3-data && rm -rf /task/botocore/data \
 && if [ "${ENGINE}" = torch ]; then \
      cp -a /torch/. /task/ && cp -a /models /task/models; \
    else \
      PYTHONPATH=/task:/torch HOME=/tmp python /check/export.py "${MODEL}" \
        --models-dir /models --output /task/models; \
    fi
# A gallery made for another model, or a file that only its owner may read, must fail the build, not
# the first invocation. Like Lambda, the check runs as a user that owns nothing.
RUN PYTHONPATH=/task:/check MODEL="${MODEL}" ENGINE="${ENGINE}" MODELS_DIR=/task/models python -c \
      "import os; os.setgid(990); os.setuid(993); from pathlib import Path; from recognition import Recognizer; here = Path('/check'); (here / 'data.pt').exists() and Recognizer.from_environment(here)"

FROM ${BASE_IMAGE}
ARG MODEL=facenet-vggface2
ARG ENGINE=ncnn
# Lambda's file system is read-only except for /tmp, and its user has no home directory.
ENV HOME=/tmp TORCH_HOME=/tmp MODEL=${MODEL} ENGINE=${ENGINE} PYTHONDONTWRITEBYTECODE=1
COPY --from=build /task ${LAMBDA_TASK_ROOT}/
COPY --from=build /check ${LAMBDA_TASK_ROOT}/
RUN chmod a+rx "${LAMBDA_TASK_ROOT}"
# An image that is not on AWS's base needs this for SnapStart.
LABEL com.amazonaws.lambda.feature.snapstart="Allow"
CMD ["handler.handler"]
