// The browsers' own objects, which each of them describes in packages of its own.
declare var browser: any;
declare var chrome: any;
declare module "*.json" {
  const value: Record<string, string>;
  export default value;
}
