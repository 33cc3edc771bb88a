# ipr with all extras, on the CPU: docker build -t ipr . && docker run --rm -v "$PWD/runs:/work/runs" ipr reproduce study=quickstart
FROM python:3.12-slim

RUN useradd --create-home ipr && mkdir /work && chown ipr /work
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
RUN pip install --no-cache-dir --disable-pip-version-check --requirement requirements.lock
COPY src src
COPY conf conf
COPY experiments experiments
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .

USER ipr
WORKDIR /work
ENTRYPOINT ["ipr"]
CMD ["--help"]
