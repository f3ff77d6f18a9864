# One image for every part: gateway, workers, beat, `llm-one-api db upgrade`. docker-compose.yml says which part runs what.
# No secret is needed to build it, and none is in it: they come from the environment when it runs.

# The version that the tests run on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
# Without pip of its own: the image's installs into it.
RUN python -m venv --without-pip /opt/llm-one-api
# What changes seldom comes first, so that a change of ours does not install it all again. Wheels only: nothing is compiled.
COPY requirements.lock ./
RUN pip --python /opt/llm-one-api/bin/python install --only-binary :all: --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY llm_one_api llm_one_api
COPY workers workers
RUN pip --python /opt/llm-one-api/bin/python install --no-deps --no-build-isolation .

FROM python:${PYTHON}-slim
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin llm-one-api
COPY --from=build /opt/llm-one-api /opt/llm-one-api
WORKDIR /srv/llm-one-api
COPY wsgi.py ./
COPY config config
# The only folders that are written to; a named volume that is mounted there takes over their owner.
RUN install -d -o llm-one-api -g llm-one-api -m 0750 data logs
ENV PATH=/opt/llm-one-api/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    LLM_ONE_API_CONFIG=/srv/llm-one-api/config/production.yaml
USER 10001:10001
EXPOSE 8000
CMD ["gunicorn", "-c", "config/gunicorn.conf.py", "wsgi:application"]
