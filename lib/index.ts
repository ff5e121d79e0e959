export { MbokError, MbokErrorCode } from './errors';
