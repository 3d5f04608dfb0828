// What the browser knows and TypeScript's libraries do not, or not in the same place.
declare const BUNKER_FILES: Record<string, string>;
declare module "*.json" {
  const value: Record<string, Record<string, string>>;
  export default value;
}
