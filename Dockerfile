# One image for migrate, jobs, hub and rest; docker-compose.yml gives each its command and its health check.
FROM python:3.11-slim AS build

RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev
WORKDIR /build
COPY requirements.txt ./
RUN sed -n '/^setuptools==/,/# via/p' requirements.txt >setuptools.txt && \
    pip install --require-hashes --no-cache-dir --disable-pip-version-check -r setuptools.txt
COPY native/ native/
# The extension is optional for pip; an image without it would send more slowly.
RUN pip wheel --no-deps --no-build-isolation --disable-pip-version-check --wheel-dir wheels ./native/sendmany && \
    pip install --no-index --disable-pip-version-check wheels/*.whl && python -c 'import tickwire_sendmany'

FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1

RUN useradd --system --uid 10001 --no-create-home tickwire
WORKDIR /app

# In its own layer, so that a change of the code does not repeat the installation.
COPY requirements.txt ./
RUN pip install --require-hashes --no-cache-dir --disable-pip-version-check -r requirements.txt
COPY --from=build /build/wheels/ wheels/
RUN pip install --no-index --no-cache-dir --disable-pip-version-check wheels/*.whl

COPY LICENSE manage.py wsgi.py gunicorn.conf.py ./
COPY config/ config/
COPY ops/ ops/
COPY db/ db/
COPY health/ health/
COPY jobs/ jobs/
COPY api/ api/
COPY cli/ cli/
COPY clients/python/ clients/python/
COPY clients/web/ clients/web/
COPY clients/js/src/ clients/js/src/
COPY data/ data/
# The account of the processes writes nothing here: otherwise each start would compile every module.
RUN python -m compileall -q .

# The folder of the volume `recordings`, which takes over its owner.
RUN mkdir -p var/recordings && chown tickwire var/recordings

USER tickwire
EXPOSE 5000 5001
CMD ["python", "manage.py", "--help"]
