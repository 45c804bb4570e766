# The light image: bot and REST door. No torch; it talks to Redis and to Discord only.
FROM python:3.12-slim
# Names in Chinese, Japanese and Korean are drawn in pictures too.
RUN apt-get update && apt-get install -y --no-install-recommends fonts-noto-cjk && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 understudy && install -d -o understudy /var/lib/understudy
WORKDIR /app
COPY pyproject.toml requirements.lock requirements.hashed.lock README.md LICENSE ./
RUN python -m pip install --no-cache-dir --require-hashes --no-deps -r requirements.hashed.lock
COPY cli.py processes.py ./
COPY bot bot
COPY tasks tasks
COPY training training
COPY sandbox sandbox
COPY catalog catalog
COPY data data
RUN python -m pip install --no-cache-dir -c requirements.lock -e .
USER understudy
ENV PYTHONUNBUFFERED=1
CMD ["understudy", "bot"]
