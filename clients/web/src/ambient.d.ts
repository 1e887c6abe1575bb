/** Third-party modules without types of their own in this folder. */
declare module "socket.io-client" {
  export const io: any;
}
