# Node comes with the images, newer than the npm packages that the repository brings for development: no optional packages.
FROM node:26-trixie-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --omit=optional --ignore-scripts
COPY gen gen
COPY src src

# No shell, no package manager; the user is 65532.
FROM gcr.io/distroless/nodejs26-debian13:nonroot
ENV NODE_ENV=production
WORKDIR /app
COPY --from=build /app /app
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["/nodejs/bin/node", "src/main.ts", "healthcheck"]
# The image's entrypoint is node itself, so that it gets the signals.
CMD ["src/main.ts"]
